"""A spawned process ends with the one that started it, and only a spawned one watches."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from em_tiers.inference.parent_process import end_with_parent
from waiting import wait_until

ROOT = Path(__file__).parents[3]
SCRIPT = """
import multiprocessing, time
from em_tiers.inference.parent_process import end_with_parent

end_with_parent()

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(1000,))
    child.start()
    print(child.pid, flush=True)
    child.join()
"""


def test_a_spawned_process_ends_after_its_parent_was_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, script]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    child = Path(f"/proc/{int(parent.stdout.readline())}")
    wait_until(lambda: b"multiprocessing-fork" in (child / "cmdline").read_bytes(), "the child")
    assert child.exists()
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    wait_until(lambda: not child.exists(), "end of the child")


def test_no_other_process_watches():
    before = threading.active_count()
    end_with_parent()
    assert threading.active_count() == before
