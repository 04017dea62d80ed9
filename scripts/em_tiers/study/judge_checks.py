"""What a JSON schema cannot say of a judge: its references, and what its backend cannot do."""

from typing import TYPE_CHECKING

from em_tiers.errors import ConfigError
from em_tiers.judge.model_names import is_moving
from em_tiers.study.known import known

if TYPE_CHECKING:
    from em_tiers.study.load import Study


def check_judge(study: "Study", name: str) -> None:
    """Raise ConfigError where a judge of the configuration contradicts itself or the catalogues."""
    judge, where = study.judges[name], f"judges.{name}"
    for asks, rubric in judge["rubrics"].items():
        known(rubric, study.rubrics, f"{where}.rubrics.{asks}", "rubric")
        if study.rubrics[rubric]["asks"] != asks:
            raise ConfigError(
                f"{where}.rubrics.{asks}: {rubric}: that rubric asks for "
                f"{study.rubrics[rubric]['asks']}: name one that asks for {asks}"
            )
        _check_rubric(study.rubrics[rubric], rubric)
    if judge["engine"]:
        known(judge["engine"], study.engines, f"{where}.engine", "engine")
    if judge["backend"] == "vllm":
        _check_local_judge(study, name)
    else:
        _check_api_judge(judge, where)


def _check_rubric(rubric: dict, name: str) -> None:
    needed = ["{question}", "{answer}"] + (["{topic}"] if rubric["asks"] == "topic" else [])
    for placeholder in needed:
        if placeholder not in rubric["prompt"]:
            raise ConfigError(
                f"rubrics.{name}.prompt: {placeholder}: is missing: put it where the judge reads it"
            )
    if rubric["kind"] == "choice" and len(rubric["labels"]) < 2:
        raise ConfigError(
            f"rubrics.{name}.labels: {rubric['labels']}: a choice needs at least two labels: "
            "write {A: in_distribution, ...}"
        )


def _check_local_judge(study: "Study", name: str) -> None:
    judge, where = study.judges[name], f"judges.{name}"
    known(judge["model"], study.models, f"{where}.model", "model")
    if "structured" in judge["method"].values():
        raise ConfigError(
            f"{where}.method: structured: works with backend openai only: use trie and label"
        )


def _check_api_judge(judge: dict, where: str) -> None:
    if not judge["endpoint"]:
        raise ConfigError(f"{where}.endpoint: null: an openai judge needs one: write base_url")
    if judge["method"].get("number", "trie") == "trie":
        raise ConfigError(
            f"{where}.method.number: trie: needs the model's own weights (backend vllm): write "
            "top_logprobs, sampled or structured"
        )
    if is_moving(judge) and not judge["endpoint"]["allow_alias"]:
        raise ConfigError(
            f"{where}.model: {judge['model']}: is an undated alias that its provider may change: "
            "write the dated name (endpoint.signed_as where answers carry another name than the "
            "asked one), or endpoint.allow_alias: true to have every table marked"
        )
    if judge["limits"] and "usd" in judge["limits"] and not judge["prices"]:
        raise ConfigError(
            f"{where}.limits.usd: {judge['limits']['usd']}: needs prices: write "
            "input_per_million and output_per_million"
        )
