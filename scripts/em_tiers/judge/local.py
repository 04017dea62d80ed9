"""A judge in the local engine: from requests to the journal's records, chunk by chunk.

One chunk's requests share a rubric, and the prefixes of one answer are adjacent, so that the
engine's prefix cache computes the instructions once and each answer once.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby, islice
from typing import Any

from em_tiers.hashing import seed_of
from em_tiers.inference.chat import (
    check_thinking,
    has_special_marks,
    marks_of,
    render_prompt,
    reply_speller,
    thinking_is_open,
)
from em_tiers.inference.engine import PROMPT_TOO_LONG, EngineAnswer, EngineRequest, LocalEngine
from em_tiers.inference.template_checks import stop_tokens
from em_tiers.judge.candidates import candidates_of
from em_tiers.judge.number_trie import (
    Prefix,
    Trie,
    opening_tokens,
    walk,
)
from em_tiers.judge.requests import JudgeRequest
from em_tiers.judge.rubrics import Rubric
from em_tiers.judge.settings import Judge, check_decoding
from em_tiers.judge.verdicts import (
    choice_verdict,
    failed_record,
    make_record,
    number_verdict,
    sampled_verdict,
)
from em_tiers.thinking import Marks, split_thinking

# Probabilities below this are left out of the record (the score counts them all): a hundred
# candidates a verdict would fill the journal with zeros.
SHOWN_PROBABILITY = 1e-6

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
        self.chunk = max(16, engine.settings["max_num_seqs"] // 2)
        check_decoding(judge, "judge", thinking)
        self._tries = {role: self._candidates(rubric) for role, rubric in judge.rubrics.items()}

    def ask(self, requests: Iterable[JudgeRequest]) -> Iterator[Answered]:
        """Yield each request with the record of its verdict, in chunks of one rubric."""
        answer: dict[str, Callable[[Rubric, list[JudgeRequest]], Iterator[Answered]]] = {
            "trie": self._walk,
            "top_logprobs": self._first_token,
            "label": self._first_token,
            "sampled": self._sample,
        }
        for role, group in groupby(requests, key=lambda request: request.rubric):
            rubric = self.judge.rubrics[role]
            while chunk := list(islice(group, self.chunk)):
                yield from answer[self.judge.method(rubric)](rubric, chunk)

    def _candidates(self, rubric: Rubric) -> Trie | None:
        """What the model may say to a rubric, as its tokenizer spells it; None when sampled."""
        tokenizer = self.engine.tokenizer
        return candidates_of(tokenizer, self.judge, rubric, self.thinking, self.served_model)

    def _prompts(
        self, requests: list[JudgeRequest], room: int, start: Prefix = ()
    ) -> tuple[list[tuple[JudgeRequest, Prefix]], list[Answered]]:
        """Requests with their prompts, and apart those that leave no room for a reply.

        Args:
            requests: of one rubric.
            room: tokens that must fit behind the prompt.
            start: tokens that end the prompt.
        """
        longest = self.engine.settings["max_model_len"] - room
        fitting, too_long = [], []
        for request in requests:
            ids = render_prompt(self.engine.tokenizer, list(request.messages), self.thinking)
            prompt = (*ids, *start)
            if len(prompt) < longest:
                fitting.append((request, prompt))
            else:
                why = f"prompt of {len(prompt)} tokens: the engine's context holds {longest}"
                too_long.append(
                    (request, failed_record(request, "truncated", why, self.served_model))
                )
        return fitting, too_long

    def _walk(self, rubric: Rubric, requests: list[JudgeRequest]) -> Iterator[Answered]:
        trie = self._tries[rubric.asks]
        fitting, too_long = self._prompts(
            requests, room=1 + len(trie.start) + max(map(len, trie.terminal))
        )
        yield from too_long
        prompts = [prompt for _, prompt in fitting]
        found = walk(trie, prompts, self._logprobs, self.judge.tolerance)
        for number, distribution in found:
            request, prompt = fitting[number]
            yield self._record(
                request,
                rubric,
                distribution.probabilities,
                prompt_tokens=len(prompt),
                completion_tokens=distribution.prefixes,
                error_bound=distribution.error_bound,
            )

    def _first_token(self, rubric: Rubric, requests: list[JudgeRequest]) -> Iterator[Answered]:
        trie = self._tries[rubric.asks]
        fitting, too_long = self._prompts(requests, room=1, start=trie.start)
        yield from too_long
        tokens = trie.children[()]
        for number, reply in self._logprobs([(prompt, tokens) for _, prompt in fitting]):
            request, prompt = fitting[number]
            shares = {trie.terminal[(t,)]: math.exp(reply[t]) for t in tokens}
            yield self._record(
                request, rubric, shares, prompt_tokens=len(prompt), completion_tokens=1
            )

    def _record(
        self, request: JudgeRequest, rubric: Rubric, shares: Mapping[str, float], **took: Any
    ) -> Answered:
        verdict = (number_verdict if rubric.kind == "number" else choice_verdict)(shares, rubric)
        if verdict.probabilities is not None:
            kept = {k: p for k, p in verdict.probabilities.items() if p >= SHOWN_PROBABILITY}
            verdict.probabilities.clear()
            verdict.probabilities.update(kept)
        record = make_record(
            {rubric.asks: verdict},
            raw_text=max(shares, key=shares.__getitem__),
            served_model=self.served_model,
            **took,
        )
        return request, record

    def _logprobs(
        self, wanted: list[tuple[Prefix, Prefix]]
    ) -> Iterator[tuple[int, Mapping[int, float]]]:
        """Log-probabilities of the tokens asked for after each prompt, by its place in the list."""
        requests = (
            EngineRequest(str(number), prompt, max_tokens=1, logprob_token_ids=tokens)
            for number, (prompt, tokens) in enumerate(wanted)
        )
        for answer in self.engine.stream(requests):
            yield int(answer.key), answer.logprobs or {}

    def _sample(self, rubric: Rubric, requests: list[JudgeRequest]) -> Iterator[Answered]:
        decoding = self.judge.decoding
        thinks = decoding.get("reasoning_tokens", 0) if self.thinking == "on" else 0
        tokens = decoding.get("max_tokens", 1) + thinks
        tokenizer = self.engine.tokenizer
        start = opening_tokens(reply_speller(tokenizer, self.thinking), self.judge.opening)
        stop = stop_tokens(tokenizer, self.engine.model, self.thinking)
        special = self.thinking == "on" and has_special_marks(tokenizer, self.marks)
        fitting, too_long = self._prompts(requests, room=tokens, start=start)
        yield from too_long
        samples = range(decoding.get("samples", 1))
        drawn = (
            EngineRequest(
                f"{number} {sample}",
                prompt,
                max_tokens=tokens,
                temperature=decoding.get("temperature", 0.0),
                seed=seed_of(decoding.get("seed", 0), request.key, sample),
                stop_token_ids=stop,
                keep_special=special,
            )
            for number, (request, prompt) in enumerate(fitting)
            for sample in samples
        )
        replies: list[dict[int, EngineAnswer]] = [{} for _ in fitting]
        for answer in self.engine.stream(drawn):
            number, sample = map(int, answer.key.split())
            replies[number][sample] = answer
            if len(replies[number]) == len(samples):
                answers = [replies[number][sample] for sample in samples]
                yield self._sampled_record(rubric, *fitting[number], answers)

    def _sampled_record(
        self, rubric: Rubric, request: JudgeRequest, prompt: Prefix, answers: list[EngineAnswer]
    ) -> Answered:
        opened = thinking_is_open(self.engine.tokenizer, prompt, self.marks)
        parts = [
            split_thinking(answer.text, self.thinking, opened=opened, marks=self.marks)
            for answer in answers
        ]
        said = [
            (text, "length" if answer.finish_reason == PROMPT_TOO_LONG else answer.finish_reason)
            for (_, text), answer in zip(parts, answers, strict=True)
        ]
        thoughts = [reasoning for reasoning, _ in parts if reasoning]
        record = make_record(
            {rubric.asks: sampled_verdict(said, rubric)},
            raw_text="\n".join(text for text, _ in said),
            reasoning="\n\n".join(thoughts) or None,
            served_model=self.served_model,
            prompt_tokens=sum(answer.prompt_tokens for answer in answers),
            completion_tokens=sum(answer.completion_tokens for answer in answers),
        )
        return request, record
