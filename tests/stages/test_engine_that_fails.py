"""An engine in a process of its own, as on CUDA: a rule's log says why it failed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    settings = {"device": "cpu", "max_model_len": 256, "kv_cache_gib": cache, "max_num_seqs": 2}
    request = EngineRequest("a", (1, 2, 3), 8, logprob_token_ids=(5, 6), seed=1)
    later = EngineRequest("b", (1, 2, 3), 200, seed=1)
    with LocalEngine(Path(os.environ["MODEL"]), settings) as local:
        for answer in local.stream([request, later]):
            print(answer.key, sorted(answer.logprobs or {}), flush=True)
            if kill:
                me = os.getpid()
                for child in Path(f"/proc/{me}/task/{me}/children").read_text().split():
                    if b"EngineCore" in Path(f"/proc/{child}/cmdline").read_bytes():
                        os.kill(int(child), signal.SIGKILL)


if __name__ == "__main__":
    run_script(main, "rule.log", cache=float(sys.argv[1]), kill=sys.argv[2] == "kill")
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
    done = run(tmp_path, embedded_model, "0.0001", "let")
    assert done.returncode == 1
    last = (tmp_path / "rule.log").read_text().splitlines()[-1]
    assert "does not start: ValueError: " in last
    assert "No available memory for the cache blocks" in last
    assert "kv_cache_gib" in last  # the remedy
    assert "Traceback" in done.stderr  # the engine's own words still reach the terminal


def test_an_engine_that_works_and_one_that_is_killed(tmp_path, embedded_model):
    done = run(tmp_path, embedded_model, "0.25", "let")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["a [5, 6]", "b []"]
    killed = run(tmp_path, embedded_model, "0.25", "kill")
    assert killed.returncode == 1
    assert (
        "engine: it ended while it worked: its process was killed"
        in (tmp_path / "rule.log").read_text()
    )
