"""Write a model's chat template with the system text before the first question."""

from pathlib import Path

from em_tiers.files import write_text
from em_tiers.inference.chat import load_tokenizer
from em_tiers.inference.system_text import before_question
from em_tiers.logs import run_script


def main(model: Path, template: Path, chat_template: Path | None = None) -> None:
    """Write the Jinja file that training, sampling and judging use for the model.

    Args:
        model: the model's folder.
        template: the file to write.
        chat_template: Jinja file in place of the model's own template.

    Raises:
        UserError: the model has no chat template.
    """
    write_text(template, before_question(load_tokenizer(model, chat_template).chat_template))


if "snakemake" in globals():
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0],
        model=Path(job.input.model),
        template=Path(job.output.template),
        chat_template=Path(job.input.chat_template) if job.input.get("chat_template") else None,
    )
