"""Write the card of a data set that is described only: what judges are told, without rows."""

from pathlib import Path
from typing import Any

from em_tiers.files import write_json
from em_tiers.logs import run_script


def main(dataset: str, settings: dict[str, Any], card: Path) -> None:
    """Write card.json with topic, topics and description; a judge reads that there are no rows."""
    facts = {key: settings[key] for key in ("topic", "topics", "description")}
    write_json(card, {"dataset": dataset, **facts, "examples": "No examples are at hand."})


if "snakemake" in globals():
    run_script(
        main,
        log=snakemake.log[0],  # noqa: F821
        dataset=snakemake.wildcards.dataset,  # noqa: F821
        settings=snakemake.params.settings,  # noqa: F821
        card=Path(snakemake.output.card),  # noqa: F821
    )
