"""Why an engine failed: the words of its own processes.

On CUDA, vLLM's engine and workers are processes of their own. The error that reaches this process
says "Engine core initialization failed. See root cause above", and the cause is what those
processes printed. What they print is therefore kept, and the cause is read from it.
"""

import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from em_tiers.errors import TemporaryError, UserError

_KEPT_LINES = 400  # a traceback of each of eight workers
_SHOWN_LINES = 40
_POLL_S = 1.0
_WAIT_S = 5.0  # for the last lines of processes that have ended
# Messages that only point to another one.
_POINTERS = re.compile(
    r"root cause|Engine core initialization failed|WorkerProc initialization failed"
    r"|background process|EngineCore encountered an issue"
)
# "(EngineCore pid=7) ERROR 11-26 06:17:07 [core.py:1510] " before what a process says.
_PREFIX = re.compile(r"^(?:\([^)]*\)\s*)*(?:[A-Z]+ [\d-]+ [\d:.]+ \[[^\]]*\]\s?)?")
_ERROR = re.compile(r"^(?P<kind>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception)): (?P<text>.+)")
# What may be read in the output of a failed start, and what to do about it; the first one that is
# found counts.
_REMEDIES = (
    (
        r"Failed to find C compiler|fatal error: \S+\.h: No such file|Python\.h",
        "Triton compiles on the node: install a C compiler (or set CC) and the headers of this "
        "Python there (python3-dev or python3-devel); `make check-gpu` shows which nodes lack them",
    ),
    (
        r"driver version is insufficient|driver on your system is too old|no NVIDIA (driver|GPU)"
        r"|Failed to infer device type|No CUDA GPUs are available|no CUDA-capable device",
        "look at nvidia-smi on this node: the job needs a GPU and a driver of this environment's "
        "CUDA version (envs/README.md)",
    ),
    (
        r"no kernel image is available|only supported on GPUs with compute capability",
        "this GPU is too old for the environment: use GPUs of compute capability 8.0 or newer",
    ),
    (
        r"Free memory on device",
        "another process uses the GPU: wait for it, or lower the engine's gpu_memory_utilization",
    ),
    (
        r"out of memory",
        "lower the engine's max_model_len or max_num_seqs, or raise tensor_parallel",
    ),
    (
        r"No available memory for the cache blocks|KV cache",
        "raise the engine's gpu_memory_utilization or tensor_parallel (on a CPU kv_cache_gib), or "
        "lower max_model_len",
    ),
    (
        r": -9\b",
        "the system killed an engine process, usually for host memory: raise the rule's mem_mb",
    ),
)
_OTHER = "change the engine's settings, or set VLLM_USE_V2_MODEL_RUNNER=0 (docs/troubleshooting.md)"


class EngineOutput:
    """Passes on what is written to standard output and error, and keeps the last lines.

    Entered around the start of an engine: the processes that start meanwhile write through it until
    they end, while this process writes directly again afterwards. Everything goes to standard
    error.
    """

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "EngineOutput":
        self._flush()
        read, write = os.pipe()
        self._saved = {fd: os.dup(fd) for fd in (1, 2)}
        for fd in self._saved:
            os.dup2(write, fd)
        os.close(write)
        self._thread = threading.Thread(
            target=self._forward, args=(read, os.dup(self._saved[2])), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        for fd, saved in self._saved.items():
            os.dup2(saved, fd)
            os.close(saved)

    def lines(self) -> list[str]:
        """The last lines; waits a moment for those of processes that have just ended."""
        if self._thread is not None:
            self._thread.join(_WAIT_S)
        return list(self._lines)

    def _forward(self, read: int, target: int) -> None:
        with os.fdopen(read, "rb") as source:
            for line in source:
                self._lines.append(line.decode("utf-8", "replace").rstrip())
                try:
                    os.write(target, line)
                except OSError:  # the reader has ended; the engine must not notice
                    continue
        os.close(target)

    @staticmethod
    def _flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()


def start_error(model: str, error: Exception, lines: Sequence[str]) -> UserError:
    """What to say of an engine that did not start. Temporary unless its settings are at fault.

    Args:
        model: folder of the weights that it was to serve.
        error: what vLLM raised in this process.
        lines: what the engine's processes printed.
    """
    cause = find_cause(error, lines)
    message = f"engine: {model}: does not start: {cause}: {find_remedy(error, lines)}"
    wrong_settings = isinstance(error, ValueError) or cause.startswith(("ValueError", "VLLMValid"))
    # A GPU that another process uses may be free, or another node may be given, next time.
    if wrong_settings and "Free memory on device" not in cause:
        return UserError(message)
    return TemporaryError(message)


def end_error(error: Exception, lines: Sequence[str]) -> TemporaryError:
    """What to say of an engine that died while it worked."""
    cause, remedy = find_cause(error, lines), find_remedy(error, lines)
    if _POINTERS.search(cause):  # not a word of the engine's own
        cause, remedy = "its process was killed", "raise the rule's mem_mb if memory was the reason"
    return TemporaryError(
        f"engine: it ended while it worked: {cause}: {remedy}; finished requests are in the "
        "journal, so run again"
    )


def watch(client: Any) -> None:
    """Wake up a vLLM client whose engine was killed: it would wait for it forever.

    The client notices the death, and ends the thread that receives answers, but tells nothing to
    the caller that waits for one (vLLM 0.32, SyncMPClient.get_output).

    Args:
        client: `LLM.llm_engine.engine_core`. An engine in this process needs no watching.
    """
    answers = getattr(client, "outputs_queue", None)
    if answers is None:
        return
    from vllm.v1.engine.exceptions import EngineDeadError

    def wait() -> None:
        while not client.resources.engine_dead:
            time.sleep(_POLL_S)
        answers.put(EngineDeadError())

    threading.Thread(target=wait, daemon=True).start()


def find_cause(error: Exception, lines: Sequence[str]) -> str:
    """The error in one line: what it says itself, or the last one that the engine printed."""
    own = _one_line(error)
    if not _POINTERS.search(own):
        return own
    printed = [match for line in lines if (match := _ERROR.match(_PREFIX.sub("", line)))]
    causes = [m for m in printed if not _POINTERS.search(m["text"])]
    return (
        f"{causes[-1]['kind'].rpartition('.')[2]}: {causes[-1]['text'].strip()}" if causes else own
    )


def find_remedy(error: Exception, lines: Sequence[str]) -> str:
    """What the user can do."""
    text = "\n".join([*lines, str(error)])
    # A known cause first; the rest of the output may mention other things.
    for where in (find_cause(error, lines), text):
        for pattern, remedy in _REMEDIES:
            if re.search(pattern, where, re.IGNORECASE):
                return remedy
    return _OTHER


def last_lines(lines: Sequence[str]) -> str:
    """The end of the output, for the rule's log."""
    return "\n".join(lines[-_SHOWN_LINES:])


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or "without a message"
    return f"{type(error).__name__}: {text}"
