"""Ask a judge in the local engine about one batch of answers."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from em_tiers.inference.replicas import open_engine
from em_tiers.journal import Journal
from em_tiers.judge.batches import Records, judge_batch, write_verdicts
from em_tiers.judge.local import LocalJudge
from em_tiers.judge.model_names import local_identity, model_name
from em_tiers.judge.requests import JudgeRequest
from em_tiers.judge.settings import Judge, load_judge
from em_tiers.judge.usable_replies import UsableReplies
from em_tiers.lean_imports import leave_out
from em_tiers.logs import progress, run_script
from em_tiers.thinking import Marks, read_marks


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
    verdicts: Path,
    chat_template: Path | None = None,
    thinking_marks: str | Mapping[str, str] | None = None,
) -> None:
    """Write the VERDICTS table of a batch; ask only what the journal does not hold.

    Args:
        model: folder of the judge's model.
        responses: RESPONSES tables, each of any number of variants.
        cards: data set -> its card, for rubrics about a data set.
        judge, rubrics: see `requests.load_judge`; the judge's entry also holds min_coverage, the
            share of answers that need a verdict, for each rubric.
        judge_name: written into the table; it changes nothing else.
        model_identity: source and revision of the model: what tells it from any other.
        engine: an engine entry; it starts only when there is something to ask.
        thinking: none, off or on, for the chat template.
        journal, writer: folder and name of this job's journal.
        verdicts: the table to write.
        chat_template: Jinja file in place of the tokenizer's own template.
        thinking_marks: around the judge's thoughts; None for those of its template.

    Raises:
        UserError: a method that the model cannot do, or coverage below the minimum.
    """
    identity = local_identity(model_identity, model, thinking, chat_template, thinking_marks)
    asked = load_judge(judge, identity, rubrics)
    with ExitStack() as stack:
        book = stack.enter_context(Journal(journal, writer))
        usable = UsableReplies(judge.get("min_coverage", 0.0))
        server = LazyJudge(
            stack,
            asked,
            (thinking, model_name(model_identity), read_marks(thinking_marks)),
            (model, engine, chat_template),
            book,
            usable,
        )
        found = judge_batch(asked, judge_name, server.ask, book, responses, cards, usable)
    write_verdicts(found, verdicts, judge.get("min_coverage", 0.0))


class LazyJudge:
    """A LocalJudge whose tokenizer and engine are loaded when the first request comes."""

    def __init__(
        self,
        stack: ExitStack,
        judge: Judge,
        model: tuple[str, str, Marks | None],
        engine: tuple[Path, Mapping[str, Any], Path | None],
        journal: Journal,
        usable: UsableReplies,
    ):
        self._stack = stack
        self._judge = judge
        self._model = model  # its thinking mode, name and marks of thinking
        self._engine = engine
        self._journal = journal
        self._usable = usable
        self._local: LocalJudge | None = None

    def ask(self, requests: list[JudgeRequest], what: str, _: set[str]) -> Records:
        """Ask each request; journal each answer as it arrives."""
        if self._local is None:
            model, settings, template = self._engine
            engine = self._stack.enter_context(open_engine(model, settings, chat_template=template))
            self._local = LocalJudge(self._judge, engine, *self._model)
        records = {}
        for request, record in progress(self._local.ask(requests), what, total=len(requests)):
            # A prompt that does not fit was not asked: another engine setting may make room.
            if record["attempts"]:
                self._journal.append(request.key, record)
                self._usable.see(request, record)
            records[request.key] = record
        return records


# An engine of several processes may start them by importing this script again: not as __main__.
if __name__ == "__main__" and "snakemake" in globals():
    leave_out("sklearn")
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
        verdicts=Path(job.output.verdicts),
        chat_template=Path(job.input.chat_template) if job.input.get("chat_template") else None,
        thinking_marks=params.thinking_marks,
    )
