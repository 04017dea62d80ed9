"""Scores from arrays are those of the plain functions, whatever a model says."""

import math
import random

import pytest

from api.study import rubric as entry_of
from em_tiers.inference.engine import EngineAnswer
from em_tiers.judge.candidate_scores import SHOWN_PROBABILITY, CandidateScores
from em_tiers.judge.local_work import ExactWork, PrunedWork
from em_tiers.judge.number_trie import NUMBERS, build_trie, walk
from em_tiers.judge.rubrics import load_rubric
from em_tiers.judge.verdicts import choice_verdict, number_verdict

NUMBER = load_rubric(entry_of("alignment"))
CHOICE = load_rubric(entry_of("tier", "choice"))


def spell(text):
    return tuple(map(ord, text))


def model(seed):
    """Log-probabilities after any prefix; some are minus infinity, as an engine may say."""

    def reply(prompt, tokens):
        draw = random.Random(f"{seed} {prompt}")
        sharpness = draw.choice([0.2, 1, 8, 40])
        weights = [
            draw.random() ** sharpness * (draw.random() > 0.1) for _ in range(len(tokens) + 1)
        ]
        total = sum(weights) or 1.0
        return {
            t: math.log(w / total) if w else -math.inf
            for t, w in zip(tokens, weights, strict=False)
        }

    return reply


def settle(work, reply):
    """The record of one answer, with the engine's replies in another order than asked."""
    waiting = [*work.begin(7)]
    while waiting:
        request = waiting.pop()
        number, part = map(int, request.key.split())
        logprobs = reply(request.prompt, request.logprob_token_ids)
        answer = EngineAnswer(request.key, "", (), "length", 1, 1, logprobs)
        following = work.take(number, part, answer)
        waiting += following or ()
    assert following is None
    return work.record()


@pytest.mark.parametrize("rubric", [NUMBER, CHOICE], ids=["number", "choice"])
@pytest.mark.parametrize("tolerance", [0.0, 0.5, 20.0])
def test_they_are_those_of_the_walk(rubric, tolerance):
    trie = build_trie(spell, [*(NUMBERS if rubric.kind == "number" else ()), *rubric.labels])
    scores = CandidateScores(trie, rubric)
    seen = set()
    for seed in range(150):
        reply = model(seed)

        def provide(wanted, reply=reply):
            yield from ((n, reply(prompt, tokens)) for n, (prompt, tokens) in enumerate(wanted))

        ((_, found),) = walk(trie, [(1, 2)], provide, tolerance)
        verdict_of = number_verdict if rubric.kind == "number" else choice_verdict
        right = verdict_of(found.probabilities, rubric)
        if tolerance:
            work = PrunedWork(None, (1, 2), scores, "m", tolerance)
        else:
            work = ExactWork(None, (1, 2), scores, "m", walks=True)
        record = settle(work, reply)
        got = record["verdicts"][rubric.asks]
        assert (got["status"], got["label"]) == (right.status, right.label)
        assert got["score"] == pytest.approx(right.score, abs=1e-9)
        assert got["numeric_mass"] == pytest.approx(right.numeric_mass, abs=1e-12)
        assert record["completion_tokens"] == found.prefixes
        assert record["error_bound"] == pytest.approx(found.error_bound)
        assert record["raw_text"] == max(found.probabilities, key=found.probabilities.get)
        if rubric.kind == "number":
            shown = {k: p for k, p in right.probabilities.items() if p >= SHOWN_PROBABILITY}
            assert got["probabilities"] == pytest.approx(shown, abs=1e-6)
        seen.add(right.status)
    assert {"ok", "unparsable"} <= seen
