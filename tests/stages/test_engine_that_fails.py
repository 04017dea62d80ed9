"""An engine in a process of its own, as on CUDA: a rule's log says why it failed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from waiting import wait_until

ROOT = Path(__file__).parents[2]
# Run as a rule's script is: the engine's process imports it again.
SCRIPT = """
import os, signal, sys
from pathlib import Path

from em_tiers.inference import engine
from em_tiers.inference.engine import EngineRequest, LocalEngine
from em_tiers.logs import run_script

inside = engine.environment_of
engine.environment_of = lambda settings: inside(settings) | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}


def main(cache, kill):
    me = os.getpid()
    settings = {"device": "cpu", "max_model_len": 256, "kv_cache_gib": cache, "max_num_seqs": 2}
    request = EngineRequest("a", (1, 2, 3), 8, logprob_token_ids=(5, 6), seed=1)
    later = EngineRequest("b", (1, 2, 3), 200, seed=1)
    with LocalEngine(Path(os.environ["MODEL"]), settings) as local:
        for answer in local.stream([request, later]):
            print(answer.key, sorted(answer.logprobs or {}), flush=True)
            children = map(int, Path(f"/proc/{me}/task/{me}/children").read_text().split())
            names = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
            cores = [child for child, name in names.items() if b"EngineCore" in name]
            if kill == "engine":
                os.kill(*cores, signal.SIGKILL)
            if kill == "job":
                print(*cores, flush=True)
                os.kill(me, signal.SIGKILL)


if __name__ == "__main__":
    run_script(main, "rule.log", cache=float(sys.argv[1]), kill=sys.argv[2])
"""


def run(folder, model, *arguments):
    (folder / "script.py").write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, "script.py", *arguments],
        cwd=folder,
        env=os.environ | {"MODEL": str(model), "PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        timeout=300,
    )


# Half a minute each: three processes import vLLM. tests/unit has the excerpts of their output.
pytestmark = pytest.mark.slow


def test_what_keeps_the_engine_from_starting_is_in_the_rules_log(tmp_path, embedded_model):
    done = run(tmp_path, embedded_model, "0.0001", "none")
    assert done.returncode == 1
    last = (tmp_path / "rule.log").read_text().splitlines()[-1]
    assert "does not start: ValueError: " in last
    assert "No available memory for the cache blocks" in last
    assert "kv_cache_gib" in last  # the remedy
    assert "Traceback" in done.stderr  # the engine's own words still reach the terminal


def test_an_engine_that_works_and_one_that_is_killed(tmp_path, embedded_model):
    done = run(tmp_path, embedded_model, "0.25", "none")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a [5, 6]", "b []"]
    killed = run(tmp_path, embedded_model, "0.25", "engine")
    assert killed.returncode == 1
    assert (
        "engine: it ended while it worked: its process was killed"
        in (tmp_path / "rule.log").read_text()
    )


def test_the_engine_of_a_killed_job_ends_too(tmp_path, embedded_model):
    """Or it would keep the GPU's memory from the job's next attempt."""
    killed = run(tmp_path, embedded_model, "0.25", "job")
    assert killed.returncode == -signal.SIGKILL
    core = int(killed.stdout.splitlines()[-1])
    wait_until(lambda: not Path(f"/proc/{core}").exists(), "end of the engine's process")
