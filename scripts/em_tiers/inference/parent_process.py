"""The end of a process with the one that started it."""

import multiprocessing
import os
import sys
import threading
import time

_PAUSE_S = 1.0


def end_with_parent() -> None:
    """In a process that `multiprocessing` spawned: end it soon after its parent has ended.

    vLLM's engine on CUDA is such a process. A parent that is killed does not tell it, and it would
    keep the GPU's memory: the job's next attempt, or another job, would find too little.
    Elsewhere this does nothing.
    """
    if "--multiprocessing-fork" in sys.orig_argv:
        threading.Thread(target=_watch, daemon=True, name="end-with-parent").start()


def _watch() -> None:
    # While the process imports its parent's script, the parent is not known yet.
    while (parent := multiprocessing.parent_process()) is None or parent.pid == os.getppid():
        time.sleep(_PAUSE_S)
    os._exit(1)
