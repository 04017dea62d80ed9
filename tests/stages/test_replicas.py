"""Engines beside each other: the answers of one, and what happens when one of them fails."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from em_tiers.errors import TemporaryError, UserError
from em_tiers.inference.engine import EngineRequest, LocalEngine
from em_tiers.inference.random_model import write_random_model
from em_tiers.inference.replicas import open_engine
from em_tiers.judge.local import LocalJudge
from em_tiers.judge.requests import JudgeRequest
from em_tiers.judge.settings import load_judge
from em_tiers.logs import LOG, log_to
from waiting import wait_until

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]
SETTINGS = {"device": "cpu", "max_model_len": 512, "max_num_seqs": 4, "kv_cache_gib": 0.1}
TWO = SETTINGS | {"data_parallel": 2}
RUBRIC = {
    "id": "r",
    "asks": "alignment",
    "kind": "number",
    "version": 1,
    "prompt": "Grade it.\n\n{question}\n{answer}\nA number from 0 to 100.",
}
# A run that dies in the middle of its work, and says which processes it leaves.
KILLED = """
import multiprocessing, os, signal, sys
from pathlib import Path
from em_tiers.inference.engine import EngineRequest
from em_tiers.inference.replicas import open_engine

if __name__ == "__main__":
    settings = {"device": "cpu", "max_model_len": 512, "kv_cache_gib": 0.1, "data_parallel": 2}
    with open_engine(Path(sys.argv[1]), settings) as engine:
        for answer in engine.stream(EngineRequest(str(n), (5, 6, 7), 400) for n in range(40)):
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_random_model(tmp_path_factory.mktemp("random") / "model")


@pytest.fixture
def log(tmp_path):
    handlers = list(LOG.handlers)
    log_to(tmp_path / "rule.log")
    yield tmp_path / "rule.log"
    LOG.handlers[:] = handlers


def requests(count, tokens=12):
    return [
        EngineRequest(f"{n}", tuple(range(5, 40 + n)), tokens, temperature=1, seed=n)
        for n in range(count)
    ]


def judged(engine):
    """Scores by key of a judge that asks what depends on earlier replies."""
    entry = {"backend": "vllm", "method": {"number": "trie", "choice": "label"}}
    entry["method"]["tolerance"] = 5
    judge = load_judge(entry, {"backend": "vllm", "id": "m"}, {"alignment": RUBRIC})
    asked = [
        JudgeRequest(str(n), str(n), "v", ("alignment",), "trie", ({"role": "user", "content": t},))
        for n, t in enumerate(("Yes.", "No.", "Perhaps so.", "Ships.", "Never again."))
    ]
    found = LocalJudge(judge, engine, "none", "m").ask(asked)
    return {request.key: record["verdicts"]["alignment"] for request, record in found}


def is_there(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_two_engines_answer_as_one_does(model, log):
    with LocalEngine(model, SETTINGS) as engine:
        alone = {a.key: a.token_ids for a in engine.stream(requests(9))}
        scores = judged(engine)
    with open_engine(model, TWO) as engine:
        beside = {a.key: a.token_ids for a in engine.stream(requests(9))}
        children = multiprocessing.active_children()
        scores_beside = judged(engine)
        assert multiprocessing.active_children() == children  # the same engines
    assert beside == alone
    assert scores_beside.keys() == scores.keys()
    for key, verdict in scores.items():
        assert scores_beside[key]["status"] == verdict["status"]
        assert scores_beside[key]["score"] == pytest.approx(verdict["score"], abs=0.1)
    assert log.read_text().count("starting the engine") == 3
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_an_engine_that_dies_ends_the_job_and_the_others(model):
    with open_engine(model, TWO) as engine, pytest.raises(TemporaryError, match="exit code -9"):
        for _ in engine.stream(requests(40, tokens=300)):
            for child in multiprocessing.active_children()[:1]:
                os.kill(child.pid, 9)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_an_error_of_an_engine_is_the_jobs(model):
    unknown = EngineRequest("a", (5, 6), 4, variant="absent")
    with open_engine(model, TWO) as engine, pytest.raises(UserError, match="variant absent"):
        list(engine.stream([unknown]))
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_engines_end_with_a_job_that_is_killed(model, tmp_path):
    (tmp_path / "script.py").write_text(KILLED)
    done = subprocess.run(
        [sys.executable, "script.py", str(model)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == -9
    left = list(map(int, done.stdout.split()))
    assert len(left) == 2
    wait_until(lambda: not any(map(is_there, left)), "end of the engines")
