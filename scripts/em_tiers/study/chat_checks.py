"""Checks of models that think: against the configuration, and against templates that are here."""

import json
from pathlib import Path

from em_tiers.errors import ConfigError, UserError
from em_tiers.study.study import Study
from em_tiers.study.variants import tested_models
from em_tiers.thinking import THINK, check_policy, read_marks


def check_thinking_policies(study: Study) -> None:
    """Check the models in use.

    Raises:
        ConfigError: a tested model thinks but has no tokens for it; thoughts of training data in
            other marks than the model's; a policy that contradicts a template on this machine.
    """
    tested = tested_models(study.config)
    judges = (study.judges[name] for name in study.asked_judges)
    judged = {judge["model"] for judge in judges if judge["backend"] == "vllm"}
    for name in sorted(tested):
        if study.models[name]["thinking"] == "on" and not reasoning_tokens(study):
            raise ConfigError(
                f"config.sampling.reasoning_tokens: 0, but model {name} has thinking: on, and its "
                "thoughts do not count among max_tokens: write how many tokens it may think before "
                "each answer, such as 4000"
            )
    _check_thoughts_of_data(study)
    for name in sorted(tested | judged):
        _check_template(study, name)


def reasoning_tokens(study: Study) -> int:
    """Tokens for the thoughts of an answer, of the tested models that think."""
    thinks = (study.models[m]["thinking"] == "on" for m in tested_models(study.config))
    return study.config["sampling"]["reasoning_tokens"] if any(thinks) else 0


def _check_thoughts_of_data(study: Study) -> None:
    for number, block in enumerate(study.config["variants"]):
        marks = read_marks(study.models[block["base"]]["thinking_marks"]) or THINK
        for name in block["datasets"]:
            if study.datasets[name]["cot"] == "think" and marks.begin != THINK.begin:
                raise ConfigError(
                    f"config.variants.{number}.datasets: {name} has cot: think, which writes "
                    f"<think>, but model {block['base']} marks thoughts with {marks.begin!r}: "
                    "write cot: drop"
                )


def _check_template(study: Study, name: str) -> None:
    model = study.models[name]
    template = template_of(study, name)
    if template is None:
        return
    try:
        check_policy(template, model["thinking"], read_marks(model["thinking_marks"]))
    except UserError as error:
        raise ConfigError(f"models.{name}.{error}") from error


def template_of(study: Study, name: str) -> str | None:
    """The text of a model's chat template; None as long as it is not on this machine."""
    model = study.models[name]
    if model["chat_template"]:
        file = study.workdir / study.find_file(model["chat_template"])
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, ValueError):  # check_sources names it
            return None
    source = model["source"] or {"type": None}
    folder = study.workdir / "results" / "resources" / "models" / name
    if source["type"] == "path":
        folder = Path(study.find_file(source["path"]))
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    settings = folder / "tokenizer_config.json"
    try:
        template = json.loads(settings.read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError):  # the download checks the file
        return None
    return template if isinstance(template, str) else None
