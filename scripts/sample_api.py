"""Sample a model behind an OpenAI-compatible API, as sample.py samples one on a GPU.

Every finished answer goes to the journal at once, and is never asked for again.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from em_tiers.api.client import Endpoint, read_key
from em_tiers.api.ledger import Ledger, spent_so_far
from em_tiers.api.spending import Budget
from em_tiers.errors import UserError
from em_tiers.inference.api_answers import ApiAnswers, ApiRequest
from em_tiers.inference.api_plan import (
    Asked,
    asked_answers,
    asked_checks,
    identity_of,
    prompts_of,
)
from em_tiers.inference.sampling import read_question_tables, responses_table
from em_tiers.journal import Journal
from em_tiers.logs import LOG, run_script
from em_tiers.tables import write_parts

SPARE_BYTES = 1_000_000  # for the answers under way when a disk is full


class ApiModel:
    """A model of the catalogue behind an API, with its journal."""

    def __init__(self, entry: Mapping[str, Any], answers: ApiAnswers):
        self.entry = entry
        self.name = entry["name"]
        self.answers = answers

    def complete(self, asked: Asked, what: str) -> dict:
        """The journal records of a plan; what the journal lacks is asked."""
        plan, conversations, decoding = asked
        wanted = {planned.key for planned in plan}
        records = self.answers.journal.read(wanted)
        pending = {
            planned.key: ApiRequest(
                planned.key,
                tuple(conversations[planned.question]),
                planned.seed % 2**31 if decoding.temperature > 0 else None,
            )
            for planned in plan
            if planned.key not in records
        }
        LOG.info("%s: %d answers in the journal, %d to ask", what, len(records), len(pending))
        return records | self.answers.ask(list(pending.values()), decoding, what)


def main(
    questions: list[Path],
    variant: dict[str, Any],
    sampling: dict[str, Any],
    model: dict[str, Any],
    base: dict[str, Any] | None,
    writer: str,
    output: Path,
) -> None:
    """Write the responses of one variant.

    Args:
        questions: QUESTIONS tables.
        variant: its columns, and questions: indices of tables.
        sampling: as in sample.py.
        model: {name, model: served name, identity, endpoint, limits, prices, thinking, journal}.
        base: the same of its base model, if that is behind an API too; None otherwise.
        writer: name of this job in the journals.
        output: the RESPONSES table.

    Raises:
        UserError: no key, a ceiling, an endpoint that cannot answer, or one model under two names.
    """
    table = read_question_tables(questions)
    with open_model(model, writer) as tested:
        if base:
            with open_model(base, writer) as other:
                check_different(tested, other)
        asked = asked_answers(model, table, variant["questions"], sampling)
        records = tested.complete(asked, f"sample {variant['variant']}")
        prompts = prompts_of(asked.conversations)
        found = responses_table(variant, identity_of(model), asked.plan, table, prompts, records)
        write_parts([with_thoughts(found, asked.plan, records)], output, "responses")
        for reason, count in tested.answers.faults.most_common():
            LOG.info("%s: %d attempts failed: %s", tested.name, count, reason)


@contextmanager
def open_model(entry: Mapping[str, Any], writer: str) -> Iterator[ApiModel]:
    """A model of the catalogue, ready to be asked within its ceilings."""
    name, journal, settings = f"models.{entry['name']}", Path(entry["journal"]), entry["endpoint"]
    key = read_key(settings.get("key_env") or "", name)
    client = Endpoint(settings, key, entry["model"], settings.get("signed_as"))
    with ExitStack() as stack:
        book = stack.enter_context(Journal(journal, writer, SPARE_BYTES))
        ledger = stack.enter_context(Ledger(journal, writer))
        spent = spent_so_far(journal) if entry["limits"] else None
        budget = Budget(entry["limits"], entry["prices"], spent, ledger)
        thinks = entry["thinking"] == "on"
        answers = ApiAnswers(entry["name"], client, settings, budget, book, thinks)
        yield ApiModel(entry, answers)


def check_different(model: ApiModel, base: ApiModel) -> None:
    """Check on greedy answers that two names serve different models.

    Raises:
        UserError: all answers are the same, or are signed with the same name by one server.
    """
    found = []
    for each in (base, model):
        asked = asked_checks(each.entry)
        records = each.complete(asked, f"check that {model.name} is not {base.name}")
        found.append([records[planned.key] for planned in asked.plan])
    texts = [[record["text"] for record in records] for records in found]
    servers = {json.dumps(m.entry["identity"]["server"]) for m in (base, model)}
    names = [{record["served_model"] for record in records} for records in found]
    if texts[0] == texts[1] or (len(servers) == 1 and names[0] == names[1]):
        how = "give the same greedy answers" if texts[0] == texts[1] else "are signed with one name"
        raise UserError(
            f"models.{model.name}.model: {model.name} and its base model {base.name} {how} "
            f"({', '.join(sorted(names[1]))}), so they are one model: correct one of the names"
        )


def with_thoughts(table: Any, plan: list, records: Mapping[str, Mapping[str, Any]]) -> Any:
    """The table with the thoughts that the server returned apart from the answers."""
    import polars as pl

    thoughts = [records[planned.key]["reasoning"] for planned in plan]
    found = pl.Series("apart", thoughts, pl.String)
    return table.with_columns(reasoning=pl.coalesce(found, "reasoning"))


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        questions=[Path(path) for path in job.input.questions],
        variant=job.params.variant,
        sampling=job.params.sampling,
        model=job.params.model,
        base=job.params.base,
        writer=job.params.writer,
        output=Path(job.output.responses),
    )
