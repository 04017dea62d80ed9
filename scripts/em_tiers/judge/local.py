"""A judge in the local engine: a stream of requests to the journal's records.

Prompts are rendered while the engine works on those before them, and an answer is settled when its
last reply comes. Requests come rubric by rubric, and the prefixes of one answer are adjacent, so
that the engine's prefix cache computes the instructions once and each answer once.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from em_tiers.inference.chat import (
    check_thinking,
    has_special_marks,
    marks_of,
    reply_speller,
    thinking_is_open,
)
from em_tiers.inference.engine import EngineRequest, LocalEngine
from em_tiers.inference.prompt_batches import PromptRenderer
from em_tiers.inference.template_checks import stop_tokens
from em_tiers.judge.candidate_scores import CandidateScores
from em_tiers.judge.candidates import candidates_of
from em_tiers.judge.local_work import ExactWork, PrunedWork, SampledWork, Sampling, Work
from em_tiers.judge.number_trie import Prefix, opening_tokens
from em_tiers.judge.requests import JudgeRequest
from em_tiers.judge.rubrics import Rubric
from em_tiers.judge.settings import Judge, check_decoding
from em_tiers.judge.verdicts import failed_record
from em_tiers.thinking import Marks

RENDERED_AT_ONCE = 32  # prompts: a few milliseconds, in which the engine has other work

Answered = tuple[JudgeRequest, dict[str, Any]]


class LocalJudge:
    """Asks an engine what a judge is to be asked.

    Args:
        judge: rubrics, methods, decoding.
        engine: holds the judge's model.
        thinking: none, off or on, for the chat template.
        served_model: what the records name as the model.
        marks: around the model's thoughts; None for those of its template.

    Raises:
        UserError: the model or its tokenizer cannot do what the judge's entry asks.
    """

    def __init__(
        self,
        judge: Judge,
        engine: LocalEngine,
        thinking: str,
        served_model: str,
        marks: Marks | None = None,
    ):
        check_thinking(engine.tokenizer, thinking, marks)
        self.judge = judge
        self.engine = engine
        self.thinking = thinking
        self.served_model = served_model
        self.marks = marks_of(engine.tokenizer, marks)
        check_decoding(judge, "judge", thinking)
        self._renderer = PromptRenderer(engine.tokenizer, thinking)
        self._makers = {role: self._maker(rubric) for role, rubric in judge.rubrics.items()}

    def ask(self, requests: Iterable[JudgeRequest]) -> Iterator[Answered]:
        """Yield each request with the record of its verdict, as it is settled."""
        under_way: dict[int, Work] = {}
        too_long: deque[Answered] = deque()
        more: deque[EngineRequest] = deque()  # of answers whose first replies are in
        most = self.engine.capacity

        def asked() -> Iterator[EngineRequest | None]:
            for number, work in enumerate(self._begun(requests, too_long)):
                # An answer whose prefixes come much later has left the engine's cache by then.
                while work.follows and len(under_way) >= most:
                    yield more.popleft() if more else None
                under_way[number] = work
                yield from work.begin(number)
                while more:
                    yield more.popleft()
            while under_way:
                yield more.popleft() if more else None

        for answer in self.engine.stream(asked()):
            yield from _drained(too_long)
            number, part = map(int, answer.key.split())
            following = under_way[number].take(number, part, answer)
            if following is None:
                work = under_way.pop(number)
                yield work.request, work.record()
            else:
                more.extend(following)
        yield from _drained(too_long)

    def _begun(self, requests: Iterable[JudgeRequest], too_long: deque[Answered]) -> Iterator[Work]:
        """The work of each request, rendered some at a time; those that leave no room go apart."""
        left = iter(requests)
        while some := list(islice(left, RENDERED_AT_ONCE)):
            rendered = self._renderer.render([list(request.messages) for request in some])
            for request, ids in zip(some, rendered, strict=True):
                maker = self._makers[request.rubric]
                prompt = (*ids, *maker.start)
                longest = self.engine.settings["max_model_len"] - maker.room
                if len(prompt) < longest:
                    yield maker.make(request, prompt)
                    continue
                why = f"prompt of {len(prompt)} tokens: the engine's context holds {longest}"
                record = failed_record(request, "truncated", why, self.served_model)
                too_long.append((request, record))

    def _maker(self, rubric: Rubric) -> "_Maker":
        """How the requests of a rubric become work."""
        judge, model = self.judge, self.served_model
        tokenizer = self.engine.tokenizer
        trie = candidates_of(tokenizer, judge, rubric, self.thinking, model)
        if trie is None:
            return self._sampler(rubric)
        scores = CandidateScores(trie, rubric)
        if judge.method(rubric) != "trie":
            room = 1 + len(trie.start)
            return _Maker(room, (), lambda r, p: ExactWork(r, p, scores, model, walks=False))
        room = 1 + len(trie.start) + max(map(len, trie.terminal))
        if judge.tolerance <= 0:
            return _Maker(room, (), lambda r, p: ExactWork(r, p, scores, model, walks=True))
        return _Maker(room, (), lambda r, p: PrunedWork(r, p, scores, model, judge.tolerance))

    def _sampler(self, rubric: Rubric) -> "_Maker":
        decoding, tokenizer = self.judge.decoding, self.engine.tokenizer
        thinks = decoding.get("reasoning_tokens", 0) if self.thinking == "on" else 0
        sampling = Sampling(
            tokens=decoding.get("max_tokens", 1) + thinks,
            samples=decoding.get("samples", 1),
            temperature=decoding.get("temperature", 0.0),
            seed=decoding.get("seed", 0),
            stop=stop_tokens(tokenizer, self.engine.model, self.thinking),
            special=self.thinking == "on" and has_special_marks(tokenizer, self.marks),
            thinking=self.thinking,
            marks=self.marks,
        )

        def make(request: JudgeRequest, prompt: Prefix) -> Work:
            opened = thinking_is_open(tokenizer, prompt, self.marks)
            return SampledWork(request, prompt, rubric, self.served_model, sampling, opened)

        start = opening_tokens(reply_speller(tokenizer, self.thinking), self.judge.opening)
        return _Maker(sampling.tokens, start, make)


class _Maker(NamedTuple):
    """room: tokens that must fit behind a prompt. start: tokens that end it."""

    room: int
    start: Prefix
    make: Callable[[JudgeRequest, Prefix], Work]


def _drained(queue: deque[Answered]) -> Iterator[Answered]:
    while queue:
        yield queue.popleft()
