"""Ask a judge in the local engine about the answers of a batch of variants."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl

from em_tiers.download.manifests import content_identity
from em_tiers.errors import UserError
from em_tiers.files import read_json
from em_tiers.inference.engine import LocalEngine
from em_tiers.journal import Journal
from em_tiers.judge.local import LocalJudge
from em_tiers.judge.requests import (
    Judge,
    JudgeRequest,
    load_judge,
    plan_requests,
    plan_tier_requests,
)
from em_tiers.judge.verdicts import coverage_error, verdict_frame, verdict_rows
from em_tiers.logs import LOG, progress, run_script
from em_tiers.tables import scan_table, write_table

# Answers whose verdicts are in memory together.
ANSWERS_AT_ONCE = 20_000


def main(
    model: Path,
    responses: list[Path],
    cards: Mapping[str, Path],
    judge: Mapping[str, Any],
    judge_name: str,
    model_identity: Mapping[str, Any],
    rubrics: Mapping[str, Mapping[str, Any]],
    engine: Mapping[str, Any],
    thinking: str,
    journal: Path,
    writer: str,
    outputs: list[Path],
    chat_template: Path | None = None,
) -> None:
    """Write one VERDICTS table a variant; ask only what the journal does not hold.

    Args:
        model: folder of the judge's model.
        responses: RESPONSES tables, one a variant.
        cards: data set -> its card, for rubrics about a data set.
        judge, rubrics: see `judging.load_judge`; the judge's entry also holds min_coverage.
        judge_name: stands in the tables and changes nothing else.
        model_identity: source and revision of the model: what tells it from any other.
        engine: an engine entry; it starts only when there is something to ask.
        thinking: none, off or on, for the chat template.
        journal, writer: folder and name of this job's journal.
        outputs: paths of the tables, in the order of `responses`.
        chat_template: Jinja file in place of the tokenizer's own template.

    Raises:
        UserError: a method that the model cannot do, or coverage below the minimum.
    """
    template = Path(chat_template).read_text(encoding="utf-8") if chat_template else None
    identity = content_identity(model_identity, model)
    identity = {**identity, "thinking": thinking, "chat_template": template}
    asked = load_judge(judge, identity, rubrics)
    read_cards = {name: read_json(path) for name, path in cards.items()}
    with ExitStack() as stack:
        book = stack.enter_context(Journal(journal, writer))
        server = LazyJudge(
            stack, asked, thinking, model_name(model_identity), (model, engine, chat_template)
        )
        statuses = []
        for tables in groups(responses):
            frame = judge_answers(asked, judge_name, server, book, tables, read_cards)
            statuses.append(frame.select("judge", "rubric", "status"))
            for table in tables:
                write_verdicts(frame, table, outputs[responses.index(table)])
    problem = coverage_error(pl.concat(statuses), judge.get("min_coverage", 0.0))
    if problem:
        for output in outputs:
            output.unlink(missing_ok=True)
        raise UserError(problem)


class LazyJudge:
    """A LocalJudge whose tokenizer and engine are loaded when the first request comes."""

    def __init__(
        self,
        stack: ExitStack,
        judge: Judge,
        thinking: str,
        served_model: str,
        engine: tuple[Path, Mapping[str, Any], Path | None],
    ):
        self._stack = stack
        self._arguments = (judge, thinking, served_model)
        self._engine = engine
        self._local: LocalJudge | None = None

    def ask(self, requests: Iterable[JudgeRequest]) -> Iterator[tuple[JudgeRequest, dict]]:
        """Requests with their records, as `LocalJudge.ask`."""
        if self._local is None:
            judge, thinking, served_model = self._arguments
            model, settings, template = self._engine
            engine = self._stack.enter_context(LocalEngine(model, settings, chat_template=template))
            self._local = LocalJudge(judge, engine, thinking, served_model)
        yield from self._local.ask(requests)


def judge_answers(
    judge: Judge,
    judge_name: str,
    server: LazyJudge,
    book: Journal,
    tables: list[Path],
    cards: Mapping[str, Any],
) -> pl.DataFrame:
    """VERDICTS of both stages: the rubrics for every answer, then the tier of the low ones."""
    answers = scan_table(tables, "responses")

    def verdicts(requests: list[JudgeRequest], what: str) -> pl.DataFrame:
        records = ask_pending(server, book, requests, f"{judge_name}, {what}")
        return verdict_frame(
            row
            for request in requests
            for row in verdict_rows(request, records[request.key], judge, judge_name)
        )

    first = verdicts(list(plan_requests(answers, judge, cards)), "rubrics")
    tiers = plan_tier_requests(answers, judge, cards, first.lazy())
    return pl.concat([first, verdicts(list(tiers), "tiers")])


def ask_pending(
    server: LazyJudge, book: Journal, requests: list[JudgeRequest], what: str
) -> dict[str, dict]:
    """Records of all requests by key; those that the journal lacks are asked, each key once."""
    records = book.read(request.key for request in requests)
    pending = {r.key: r for r in requests if r.key not in records}
    LOG.info("%s: %d of %d requests to ask", what, len(pending), len(requests))
    if not pending:
        return records
    for request, record in progress(server.ask(pending.values()), what, total=len(pending)):
        # A prompt that does not fit was not asked: another engine setting may make room.
        if record["attempts"]:
            book.append(request.key, record)
        records[request.key] = record
    return records


def groups(responses: list[Path]) -> Iterator[list[Path]]:
    """Tables in groups of about ANSWERS_AT_ONCE rows."""
    group: list[Path] = []
    rows = 0
    for path in responses:
        group.append(path)
        rows += scan_table(path, "responses").select(pl.len()).collect().item()
        if rows >= ANSWERS_AT_ONCE:
            yield group
            group, rows = [], 0
    if group:
        yield group


def write_verdicts(frame: pl.DataFrame, responses: Path, output: Path) -> None:
    """Write the verdicts of one variant's answers."""
    keys = scan_table(responses, "responses").select("response_key").collect()
    part = frame.join(keys, on="response_key", how="semi", maintain_order="left")
    write_table(part, output, "verdicts")


def model_name(identity: Mapping[str, Any]) -> str:
    """A short name of the model for the tables: where it comes from, and its revision."""
    name = next((identity[k] for k in ("id", "package", "url", "path") if identity.get(k)), "model")
    version = next((identity[k] for k in ("revision", "version", "sha256") if identity.get(k)), "")
    return f"{name}@{str(version)[:12]}" if version else str(name)


if "snakemake" in globals():
    job = globals()["snakemake"]
    params = job.params
    run_script(
        main,
        job.log[0],
        model=Path(job.input.model),
        responses=[Path(path) for path in job.input.responses],
        cards=dict(zip(params.datasets, map(Path, job.input.get("cards", [])), strict=True)),
        judge=params.judge,
        judge_name=params.judge_name,
        model_identity=params.model_identity,
        rubrics=params.rubrics,
        engine=params.engine,
        thinking=params.thinking,
        journal=Path(params.journal),
        writer=params.writer,
        outputs=[Path(path) for path in job.output.verdicts],
        chat_template=Path(job.input.chat_template) if job.input.get("chat_template") else None,
    )
