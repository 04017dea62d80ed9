"""A real OpenAI-compatible server of the embedded model: vLLM on the CPU, on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Small, and in one process: the engine would otherwise fork workers and take most of the memory.
ENGINE = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
READY_WITHIN_S = 240


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
        "--dtype", "bfloat16", "--max-model-len", "2048", "--max-num-seqs", "64",
        "--block-size", "32", "--enforce-eager", "--distributed-executor-backend", "uni",
        "--disable-uvicorn-access-log",
    ]  # fmt: skip
    # The environment rather than --api-key: a command line can be read by other users.
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
            _wait_until_ready(process, f"http://127.0.0.1:{port}/health", log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_ready(process: subprocess.Popen, address: str, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended: {log.read_text(errors='replace')[-2000:]}")
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"no server after {READY_WITHIN_S} s: {log}")


def _end(process: subprocess.Popen) -> None:
    """End the server and whatever it started: it leads a process group of its own."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(15)
