"""The status of a run, from its files and journals alone."""

import os
from pathlib import Path
from typing import Any

import polars as pl

import show_status
from answers import responses, verdicts
from em_tiers.files import write_json, write_text
from em_tiers.journal import Journal
from em_tiers.judge.requests import plan_requests
from em_tiers.judge.settings import load_judge
from em_tiers.tables import QUESTIONS, write_table

PROMPT = "Read.\n{question}\n{answer}\nOne number:"
ENTRY = {
    "judge": {"backend": "vllm", "method": {"number": "trie", "choice": "label"}},
    "identity": {"id": "org/judge", "revision": "0" * 40},
    "rubrics": {
        "alignment": {"id": "a", "asks": "alignment", "kind": "number", "prompt": PROMPT},
        "coherence": {"id": "c", "asks": "coherence", "kind": "number", "prompt": "C " + PROMPT},
    },
}
RECORD = {
    "verdicts": {},
    "raw_text": "90",
    "reasoning": None,
    "served_model": "m",
    "prompt_tokens": 1,
    "completion_tokens": 1,
    "attempts": 1,
}


def variant(folder: Path, name: str, parent: str | None = None) -> dict[str, Any]:
    return {
        "variant": name,
        "parent": parent,
        "dataset": None,
        "card": None,
        "adapter": str(folder / "adapters" / name) if parent else None,
        "checkpoints": str(folder / "checkpoints" / name) if parent else None,
        "responses": str(folder / "responses" / "batch.parquet"),
        "journal": str(folder / "journals" / "sample" / "base"),
        "questions": {str(folder / "questions.parquet"): 10},
        "verdicts": {"j": str(folder / "verdicts" / "batch.parquet")},
    }


def test_before_anything(tmp_path: Path) -> None:
    listed = [variant(tmp_path, "base"), variant(tmp_path, "tuned", "tuned")]
    judges = {"j": ENTRY | {"journal": str(tmp_path / "judge")}}
    assert show_status.status_lines(listed, judges, {}) == [
        "train: 0 of 1 fine-tunes done",
        "sample: 0 of 2 variants done",
        "  base: 0 answers done, number left unknown",
        "judge j: 0 of 2 variants done",
        "  variants without answers so far: 2",
    ]


def test_in_the_middle(tmp_path: Path) -> None:
    base, tuned = variant(tmp_path, "base"), variant(tmp_path, "tuned", "tuned")
    state = tmp_path / "checkpoints" / "tuned" / "checkpoint-20" / "trainer_state.json"
    write_json(state, {"global_step": 20, "max_steps": 60})
    question = {
        "question_set": "s",
        "question_id": "q",
        "paraphrase": 0,
        "probe_level": "in_domain",
        "question_topics": [],
        "messages": [{"role": "user", "content": "?"}],
    }
    write_table(
        pl.DataFrame([question], schema=QUESTIONS), tmp_path / "questions.parquet", "questions"
    )
    answers = responses({"response": "A", "variant": "base"}, {"response": "B", "variant": "base"})
    write_table(answers, base["responses"], "responses")
    # 6 lines less the 2 answers of the finished variant: 4 of the 10 that `tuned` will have.
    write_text(Path(tuned["journal"]) / "w.jsonl", "{}\n" * 6)
    judge = load_judge(ENTRY["judge"], ENTRY["identity"], ENTRY["rubrics"])
    requests = list(plan_requests(answers.lazy(), judge, {}))
    scored = {"status": "ok", "score": 90.0, "label": None, "probabilities": None}
    scored |= {"numeric_mass": 1.0}
    lost = scored | {"status": "unparsable", "score": None}
    with Journal(tmp_path / "judge", "w") as journal:
        for request, verdict in zip(requests, (scored, lost), strict=False):
            journal.append(request.key, RECORD | {"verdicts": {request.rubric: verdict}})
    judges = {"j": ENTRY | {"journal": str(tmp_path / "judge")}}
    speeds = {tuned["journal"]: 0.01, str(tmp_path / "judge"): 0.0}
    # 6 answers at 0.01 a second: 600 s.
    assert show_status.status_lines([base, tuned], judges, speeds) == [
        "train: 0 of 1 fine-tunes done",
        "  tuned: checkpoint at step 20 of 60",
        "sample: 1 of 2 variants done, 2 answers",
        "  base: 4 of 10 answers done, 6 left; about 10 min at 0.01 per second",
        "judge j: 0 of 2 variants done",
        "  2 of 4 requests done, 2 left, 1 failed; no progress while watching",
        "  variants without answers so far: 1",
    ]


def test_at_the_end(tmp_path: Path, capsys: Any) -> None:
    base = variant(tmp_path, "base")
    write_table(responses({"response": "A", "variant": "base"}), base["responses"], "responses")
    failed = verdicts(
        ("0", "alignment", {"status": "api_error", "variant": "base"}),
        ("0", "coherence", {"status": "ok", "score": 5.0, "variant": "base"}),
    )
    write_table(failed, base["verdicts"]["j"], "verdicts")
    judges = {"j": ENTRY | {"journal": str(tmp_path / "judge")}}
    show_status.main([base], judges, watch_s=0)
    assert capsys.readouterr().out.splitlines() == [
        "train: no fine-tunes",
        "sample: 1 of 1 variants done, 1 answers",
        "judge j: 0 of 1 variants done",
        "  0 of 2 requests done, 2 left; no progress while watching",
        "  failed verdicts: api_error 1 (api_error: asked again by the next run)",
    ]
    show_status.main([base], judges, watch_s=0, accept_api_errors=True)
    assert capsys.readouterr().out.splitlines()[2:] == [
        "judge j: 1 of 1 variants done",
        "  failed verdicts: api_error 1 (api_error: accepted)",
    ]


def test_the_time_that_training_will_take(tmp_path: Path) -> None:
    for step, written in ((20, 1000), (30, 1100)):
        state = tmp_path / f"checkpoint-{step}" / "trainer_state.json"
        write_json(state, {"global_step": step, "max_steps": 60})
        os.utime(state, (written, written))
    # 10 steps in 100 s: the 30 that are left take 300 s, of which 60 have passed.
    assert show_status.checkpoint_in_words(tmp_path, 1160) == (
        "checkpoint at step 30 of 60; about 4 min left"
    )
    assert show_status.checkpoint_in_words(tmp_path, 1100 + 600) == (
        "checkpoint at step 30 of 60, 10 min ago; training seems to have stopped"
    )
    assert show_status.checkpoint_in_words(tmp_path / "nothing", 0) is None


def test_failed_jobs_are_named_with_their_reason(tmp_path: Path) -> None:
    write_text(tmp_path / "judge/a.log", "10:00:00 INFO start\n10:00:01 ERROR key: not set\n")
    crash = "10:00:01 ERROR unexpected failure\nTraceback:\n  File x\nMemoryError: too much\n"
    write_text(tmp_path / "finetune/b.s0.log", crash)
    # Failed once, then run again: it is running, or done.
    write_text(tmp_path / "sample/c.log", "10:00:01 ERROR no\n10:02:00 INFO resumed\n")
    assert show_status.failed_jobs(tmp_path) == [
        f"failed jobs: 2 (logs in {tmp_path})",
        "  finetune/b.s0: MemoryError: too much",
        "  judge/a: key: not set",
    ]
    assert show_status.failed_jobs(tmp_path / "none") == show_status.failed_jobs(None) == []


def test_times_that_a_person_can_plan_with() -> None:
    seen = [show_status.duration(seconds) for seconds in (5, 600, 7500, 200_000)]
    assert seen == ["a minute", "10 min", "2 h 5 min", "2 d"]
