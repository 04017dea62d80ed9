"""Sample a batch of variants of one base model: one engine, one stream of requests, one journal.

Every finished answer goes to the journal at once; the table of a variant is written from it. What
the journal holds is never generated again, and where nothing is missing no engine starts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.download.manifests import content_identity
from em_tiers.download.model_files import check_other_weights
from em_tiers.inference.adapter_folder import verify_adapter
from em_tiers.inference.chat import (
    check_thinking,
    has_special_marks,
    marks_of,
    thinking_is_open,
)
from em_tiers.inference.engine import EngineAnswer, EngineRequest, LocalEngine
from em_tiers.inference.replicas import Replicas, open_engine
from em_tiers.inference.sampling import (
    ADAPTER_CHECK_DECODING,
    ADAPTER_CHECK_PROMPTS,
    Decoding,
    Identity,
    PlannedAnswer,
    Prompt,
    check_applied,
    check_lengths,
    count_of,
    decoding_of,
    engine_request,
    plan_adapter_checks,
    plan_variant,
    read_question_tables,
    render_prompts,
    responses_table,
)
from em_tiers.inference.template_checks import stop_tokens
from em_tiers.inference.thought_budget import within_budgets
from em_tiers.journal import Journal
from em_tiers.lean_imports import leave_out
from em_tiers.logs import LOG, progress, run_script
from em_tiers.tables import write_parts
from em_tiers.thinking import read_marks, unsplit_warning

GROUP_ROWS = 200_000  # answers that are held in memory at once (about 1 GB)


@dataclass(frozen=True)
class Task:
    """One variant of the batch. `weights`: its name where it has an adapter, else None."""

    variant: dict[str, Any]
    weights: str | None
    identity: Identity


def main(
    model: Path,
    adapters: list[Path],
    questions: list[Path],
    variants: list[dict[str, Any]],
    sampling: dict[str, Any],
    thinking: str,
    engine: dict[str, Any],
    model_identity: Any,
    journal: Path,
    writer: str,
    output: Path,
    chat_template: Path | None = None,
    thinking_marks: str | dict[str, str] | None = None,
    tuned_from: Path | None = None,
) -> None:
    """Write the responses of all variants of a batch, in the order of `variants`.

    Args:
        model: folder of the base model.
        adapters: adapter (or whole model) folders.
        questions: QUESTIONS tables.
        variants: each {variant, base, dataset, recipe, training_seed,
            checkpoint_step, adapter: index into adapters or None, questions: indices}.
        sampling: temperature, top_p, max_tokens, reasoning_tokens (of thoughts, for a model that
            thinks), seed, samples ({question set: number, default: number}).
        thinking: the model's thinking policy: none, off or on.
        engine: engine entry of the configuration.
        model_identity: what tells this base model from others (source and revision; a model from
            a path is told by its files' hashes instead).
        journal: folder of the journal that all batches of this base model share.
        writer: name of this job in the journal.
        output: the RESPONSES table.
        chat_template: Jinja file in place of the tokenizer's template.
        thinking_marks: around the model's thoughts; None for those of its template.
        tuned_from: folder of the base model, where `model` is a whole fine-tune of it.

    Raises:
        UserError: a whole fine-tune has its base model's weights; the thinking policy does not fit
            the template; an adapter is not what its manifest says, or does nothing; a prompt is too
            long for the engine; another job writes under the same name.
    """
    if tuned_from:
        check_other_weights(model, tuned_from)
    hashes = [verify_adapter(folder)["adapter_sha256"] for folder in adapters]
    model_identity = content_identity(model_identity, model)
    tuned = {v["variant"]: adapters[v["adapter"]] for v in variants if v["adapter"] is not None}
    with (
        Journal(journal, writer) as log,
        open_engine(model, engine, tuned, chat_template) as local,
    ):
        base = base_identity(local, model_identity, thinking, thinking_marks)
        table = read_question_tables(questions)
        messages = table["messages"].to_list()
        prompts = render_prompts(local.tokenizer, messages, thinking, base.marks)
        new_tokens = decoding_of(sampling, thinking).new_tokens
        check_lengths(table, prompts, local.settings["max_model_len"], new_tokens)
        sampler = Sampler(local, log, sampling, table, prompts, base)
        tasks = [
            Task(
                variant=variant,
                weights=None if variant["adapter"] is None else variant["variant"],
                identity=replace(
                    base,
                    adapter_sha256=None
                    if variant["adapter"] is None
                    else hashes[variant["adapter"]],
                ),
            )
            for variant in variants
        ]
        groups = groups_of(tasks, [sampler.count(task) for task in tasks], GROUP_ROWS)
        tables = (rows for group in groups for rows in sampler.run(group))
        write_parts(tables, output, "responses")


def base_identity(
    engine: LocalEngine | Replicas,
    model_identity: Any,
    thinking: str,
    thinking_marks: str | dict[str, str] | None,
) -> Identity:
    """The base model's identity: how its thoughts are told apart, and what ends its answers.

    Raises:
        UserError: the thinking policy does not fit the template.
    """
    tokenizer, named = engine.tokenizer, read_marks(thinking_marks)
    check_thinking(tokenizer, thinking, named)
    marks = marks_of(tokenizer, named)
    return Identity(
        model=model_identity,
        adapter_sha256=None,
        thinking=thinking,
        marks=marks,
        stop_token_ids=stop_tokens(tokenizer, engine.model, thinking),
        keep_special=thinking != "none" and has_special_marks(tokenizer, marks),
    )


def groups_of(tasks: Sequence[Task], sizes: Sequence[int], limit: int) -> Iterator[list[Task]]:
    """Parts of the batch with at most `limit` answers each (or one variant): memory is bounded."""
    group: list[Task] = []
    total = 0
    for task, size in zip(tasks, sizes, strict=True):
        if group and total + size > limit:
            yield group
            group, total = [], 0
        group.append(task)
        total += size
    if group:
        yield group


class Sampler:
    """Generates what the journal lacks, and writes the tables."""

    def __init__(
        self,
        engine: LocalEngine | Replicas,
        journal: Journal,
        sampling: dict[str, Any],
        questions: pl.DataFrame,
        prompts: list[Prompt],
        base: Identity,
    ) -> None:
        self.engine = engine
        self.journal = journal
        self.sampling = sampling
        self.questions = questions
        self.prompts = prompts
        messages = [[{"role": "user", "content": text}] for text in ADAPTER_CHECK_PROMPTS]
        self.base = base
        self.check_prompts = render_prompts(engine.tokenizer, messages, base.thinking, base.marks)

    def count(self, task: Task) -> int:
        """How many answers a variant has."""
        return count_of(task.variant["questions"], self.questions, self.sampling)

    def run(self, tasks: list[Task]) -> Iterator[pl.DataFrame]:
        """Complete the journal for these variants, then yield the rows of each."""
        plans = [self._plan(task) for task in tasks]
        wanted = {planned.key for plan in plans for planned in plan}
        # One pass over the journal, which can be long: the checks' answers come with the others.
        checks = {planned.key for task in tasks for planned in self._plan_checks(task.identity)}
        checks |= {planned.key for planned in self._plan_checks(self.base)}
        records = self.journal.read(wanted | checks)
        missing = len(wanted - records.keys())
        LOG.info(
            "%d variants: %d answers in the journal, %d to generate",
            len(tasks),
            len(wanted) - missing,
            missing,
        )
        waiting = [
            (task, plan)
            for task, plan in zip(tasks, plans, strict=True)
            if any(planned.key not in records for planned in plan)
        ]
        # With adapters beside the weights all variants are one stream. Else weights change from
        # variant to variant, and a variant's proof and answers belong to one turn.
        together = self.engine.settings["adapters"] == "lora"
        for turn in [waiting] if together else [[pair] for pair in waiting]:
            self._check_adapters([task for task, _ in turn if task.weights is not None], records)
            decoding = decoding_of(self.sampling, self.base.thinking)
            requests = [
                engine_request(planned, self.prompts, decoding, task.weights, task.identity)
                for task, plan in turn
                for planned in plan
            ]
            names = ", ".join(task.variant["variant"] for task, _ in turn)
            self._generate(requests, records, names, decoding)
        for task, plan in zip(tasks, plans, strict=True):
            table = responses_table(
                task.variant, task.identity, plan, self.questions, self.prompts, records
            )
            self._warn(task, table)
            yield table

    def _warn(self, task: Task, answers: pl.DataFrame) -> None:
        entry = f"models.{task.variant['base']}"
        remedy = f'{entry}.thinking: "on", and {entry}.thinking_marks: {{name}}'
        if warning := unsplit_warning(answers["response"], remedy):
            LOG.warning("%s: %s", task.variant["variant"], warning)

    def _plan(self, task: Task) -> list[PlannedAnswer]:
        tables = task.variant["questions"]
        return plan_variant(task.identity, tables, self.questions, self.prompts, self.sampling)

    def _plan_checks(self, identity: Identity) -> list[PlannedAnswer]:
        return plan_adapter_checks(identity, self.check_prompts)

    def _check_adapters(self, tasks: list[Task], records: dict[str, dict[str, Any]]) -> None:
        """Check on greedy answers that each adapter changes the model, before it is sampled."""
        if not tasks:
            return
        plans = [(None, self._plan_checks(self.base))]
        plans += [(task.weights, self._plan_checks(task.identity)) for task in tasks]
        requests = [
            engine_request(planned, self.check_prompts, ADAPTER_CHECK_DECODING, weights, self.base)
            for weights, plan in plans
            for planned in plan
        ]
        self._generate(requests, records, "adapter checks", ADAPTER_CHECK_DECODING)
        texts = [[records[planned.key]["text"] for planned in plan] for _, plan in plans]
        for task, answers in zip(tasks, texts[1:], strict=True):
            check_applied(task.variant["variant"], task.identity.adapter_sha256, texts[0], answers)

    def _generate(
        self,
        requests: list[EngineRequest],
        records: dict[str, dict[str, Any]],
        what: str,
        decoding: Decoding,
    ) -> None:
        """Generate what has no record yet; journal each answer as it arrives."""
        pending = {r.key: r for r in requests if r.key not in records}
        if not pending:
            return
        answers = self.engine.stream(pending.values())
        for answer in progress(answers, f"sample {_shorten(what)}", len(pending)):
            if decoding.reasoning_tokens:
                answer = self._within_budgets(answer, pending[answer.key], decoding)
            record = answer_record(answer, self.engine.fingerprint)
            self.journal.append(answer.key, record)
            records[answer.key] = record

    def _within_budgets(
        self, answer: EngineAnswer, request: EngineRequest, decoding: Decoding
    ) -> EngineAnswer:
        tokenizer, marks = self.engine.tokenizer, self.base.marks
        skip = not request.keep_special
        return within_budgets(
            answer,
            decoding.reasoning_tokens,
            decoding.max_tokens,
            marks,
            thinking_is_open(tokenizer, request.prompt, marks),
            lambda ids: tokenizer.decode(list(ids), skip_special_tokens=skip),
        )


def answer_record(answer: EngineAnswer, fingerprint: str) -> dict[str, Any]:
    """What the journal keeps of an answer: the text as it came, thinking included."""
    if answer.finish_reason not in ("stop", "length"):
        raise RuntimeError(f"request {answer.key}: the engine ended it: {answer.finish_reason}")
    return {
        "text": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "engine": fingerprint,
    }


def _shorten(text: str, width: int = 60) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


# An engine of several processes may start them by importing this script again: not as __main__.
if __name__ == "__main__" and "snakemake" in globals():
    leave_out("sklearn")
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0] if job.log else None,
        model=Path(job.input.model),
        adapters=[Path(path) for path in job.params.adapters],
        questions=[Path(path) for path in job.input.questions],
        variants=job.params.variants,
        sampling=job.params.sampling,
        thinking=job.params.thinking,
        engine=job.params.engine,
        model_identity=job.params.model_identity,
        journal=Path(job.params.journal),
        writer=job.params.writer,
        output=Path(job.output.responses),
        chat_template=Path(job.input.chat_template) if job.input.get("chat_template") else None,
        thinking_marks=job.params.thinking_marks,
        tuned_from=Path(str(job.input.tuned_from)) if job.input.get("tuned_from") else None,
    )
