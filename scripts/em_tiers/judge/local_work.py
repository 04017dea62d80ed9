"""What an engine is asked about one answer, and the record that its replies become."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from em_tiers.hashing import seed_of
from em_tiers.inference.engine import PROMPT_TOO_LONG, EngineAnswer, EngineRequest
from em_tiers.judge.candidate_scores import CandidateScores
from em_tiers.judge.number_trie import Prefix, Walk
from em_tiers.judge.requests import JudgeRequest
from em_tiers.judge.rubrics import Rubric
from em_tiers.judge.verdicts import make_record, sampled_verdict
from em_tiers.thinking import Marks, split_thinking


class Work(Protocol):
    """One request under way. An engine request's key is the work's number and the part's.

    follows: whether replies lead to more that is asked about the same answer.
    """

    request: JudgeRequest
    follows: bool

    def begin(self, number: int) -> Iterable[EngineRequest]:
        """What to ask first."""

    def take(self, number: int, part: int, answer: EngineAnswer) -> Iterable[EngineRequest] | None:
        """What to ask next, perhaps nothing for now; None when this was the last reply."""

    def record(self) -> dict[str, Any]:
        """The journal's record, once the last reply is in."""


class CandidateWork:
    """Candidates of which the engine gives the probabilities: a prefix of their trie per request.

    Args:
        prompt: token ids up to where the candidates begin, but for the trie's own start.
        served_model: what the record names as the model.
    """

    follows = False

    def __init__(
        self, request: JudgeRequest, prompt: Prefix, scores: CandidateScores, served_model: str
    ):
        self.request = request
        self._prompt = prompt
        self._scores = scores
        self._served_model = served_model
        self._start = prompt + scores.trie.start

    def _ask(self, number: int, part: int) -> EngineRequest:
        prompt = self._start + self._scores.prefixes[part]
        tokens = self._scores.tokens[part]
        return EngineRequest(f"{number} {part}", prompt, max_tokens=1, logprob_token_ids=tokens)


class ExactWork(CandidateWork):
    """All prefixes of a trie at once.

    Args:
        walks: whether prefixes count as completion tokens, and the record has an error bound.
    """

    def __init__(
        self,
        request: JudgeRequest,
        prompt: Prefix,
        scores: CandidateScores,
        served_model: str,
        walks: bool,
    ):
        super().__init__(request, prompt, scores, served_model)
        self._walks = walks
        self._values = [0.0] * scores.starts[-1]
        self._left = len(scores.prefixes)

    def begin(self, number: int) -> Iterator[EngineRequest]:
        return (self._ask(number, part) for part in range(len(self._scores.prefixes)))

    def take(self, number: int, part: int, answer: EngineAnswer) -> tuple[()] | None:
        starts = self._scores.starts
        self._values[starts[part] : starts[part + 1]] = answer.logprobs.values()
        self._left -= 1
        return () if self._left else None

    def record(self) -> dict[str, Any]:
        verdict, likeliest = self._scores.verdict(self._scores.probabilities(self._values))
        bound = {"error_bound": 0.0} if self._walks else {}
        own = 0 if self._walks else len(self._scores.trie.start)
        return make_record(
            {self._scores.rubric.asks: verdict},
            raw_text=likeliest,
            served_model=self._served_model,
            prompt_tokens=len(self._prompt) + own,
            completion_tokens=len(self._scores.prefixes),
            **bound,
        )


class PrunedWork(CandidateWork):
    """A trie level by level, without the branches that cannot move the score by the tolerance."""

    follows = True

    def __init__(
        self,
        request: JudgeRequest,
        prompt: Prefix,
        scores: CandidateScores,
        served_model: str,
        tolerance: float,
    ):
        super().__init__(request, prompt, scores, served_model)
        self._tolerance = tolerance
        self._walk = Walk(scores.trie)
        self._asked: dict[int, Prefix] = {}  # part -> the prefix that it asks

    def begin(self, number: int) -> list[EngineRequest]:
        parts = []
        for prefix in self._walk.choose(self._tolerance):
            part = self._scores.prefixes.index(prefix)
            self._asked[part] = prefix
            parts.append(part)
        return [self._ask(number, part) for part in parts]

    def take(self, number: int, part: int, answer: EngineAnswer) -> list[EngineRequest] | None:
        self._walk.learn(self._asked.pop(part), answer.logprobs)
        if self._asked:
            return []
        return self.begin(number) or None

    def record(self) -> dict[str, Any]:
        found = self._walk.distribution()
        verdict, likeliest = self._scores.verdict(self._scores.of_distribution(found))
        return make_record(
            {self._scores.rubric.asks: verdict},
            raw_text=likeliest,
            served_model=self._served_model,
            prompt_tokens=len(self._prompt),
            completion_tokens=found.prefixes,
            error_bound=found.error_bound,
        )


@dataclass(frozen=True)
class Sampling:
    """How replies of a sampled method are drawn.

    tokens: the most of one reply, with its thoughts. stop, special: as in EngineRequest.
    """

    tokens: int
    samples: int
    temperature: float
    seed: int
    stop: tuple[int, ...]
    special: bool
    thinking: str
    marks: Marks


class SampledWork:
    """Replies that are drawn, with the seed of their request."""

    follows = False

    def __init__(
        self,
        request: JudgeRequest,
        prompt: Prefix,
        rubric: Rubric,
        served_model: str,
        sampling: Sampling,
        opened: bool,
    ):
        self.request = request
        self._prompt = prompt
        self._rubric = rubric
        self._served_model = served_model
        self._sampling = sampling
        self._opened = opened  # the prompt has opened a block of thoughts
        self._replies: dict[int, EngineAnswer] = {}

    def begin(self, number: int) -> Iterator[EngineRequest]:
        how = self._sampling
        for sample in range(how.samples):
            yield EngineRequest(
                f"{number} {sample}",
                self._prompt,
                max_tokens=how.tokens,
                temperature=how.temperature,
                seed=seed_of(how.seed, self.request.key, sample),
                stop_token_ids=how.stop,
                keep_special=how.special,
            )

    def take(self, number: int, part: int, answer: EngineAnswer) -> tuple[()] | None:
        self._replies[part] = answer
        return () if len(self._replies) < self._sampling.samples else None

    def record(self) -> dict[str, Any]:
        answers = [self._replies[sample] for sample in range(self._sampling.samples)]
        how = self._sampling
        parts = [
            split_thinking(answer.text, how.thinking, opened=self._opened, marks=how.marks)
            for answer in answers
        ]
        said = [
            (text, "length" if answer.finish_reason == PROMPT_TOO_LONG else answer.finish_reason)
            for (_, text), answer in zip(parts, answers, strict=True)
        ]
        thoughts = [reasoning for reasoning, _ in parts if reasoning]
        return make_record(
            {self._rubric.asks: sampled_verdict(said, self._rubric)},
            raw_text="\n".join(text for text, _ in said),
            reasoning="\n\n".join(thoughts) or None,
            served_model=self._served_model,
            prompt_tokens=sum(answer.prompt_tokens for answer in answers),
            completion_tokens=sum(answer.completion_tokens for answer in answers),
        )
