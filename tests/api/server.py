"""A real OpenAI-compatible server of the embedded model: vLLM on the CPU, on loopback."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from em_tiers.precision import choose_dtype
from waiting import PATIENCE, wait_until

# Small, and in one process: the engine would otherwise fork workers and take most of the memory.
# It needs no C++ compiler, as the product's engines on a CPU need none.
ENGINE = {
    "TORCH_COMPILE_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


@contextmanager
def serve_model(model: Path, name: str, log: Path, key: str | None = None) -> Iterator[str]:
    """Serve the model in the folder `model` under `name`; yields the base URL, ending in /v1.

    It asks for `key` when one is given. Ready after about a minute.
    """
    port = _free_port()
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(model), "--served-model-name", name,
        "--host", "127.0.0.1", "--port", str(port),
        "--dtype", choose_dtype("auto", "cpu"), "--max-model-len", "2048", "--max-num-seqs", "64",
        "--block-size", "32", "--enforce-eager", "--distributed-executor-backend", "uni",
        "--disable-uvicorn-access-log",
    ]  # fmt: skip
    # The environment rather than --api-key: other users can read a command line.
    secret = {"VLLM_API_KEY": key} if key else {}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **ENGINE, **secret},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until(
                lambda: _answers(f"http://127.0.0.1:{port}/health"),
                "server that answers",
                process,
                log,
                pause_s=0.5,
            )
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE):
            return True
    except OSError:  # nothing listens yet, or the answer is an error
        return False


def _end(process: subprocess.Popen) -> None:
    """End the server and everything it started: it leads its own process group."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
