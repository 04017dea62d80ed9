"""Checks of a judge beyond the schema: its references, its rubrics, and its backend."""

from em_tiers.errors import ConfigError, require_known
from em_tiers.judge.model_names import is_moving
from em_tiers.judge.settings import check_decoding, load_judge
from em_tiers.study.judges import judge_identity, judge_params, judge_rubrics
from em_tiers.study.study import Study


def check_judge(study: Study, name: str) -> None:
    """Check a judge of the configuration as its job does, and its references.

    Raises:
        ConfigError: the entry contradicts itself or the catalogues, or one of its rubrics cannot
            be used.
    """
    judge, where = study.judges[name], f"judges.{name}"
    for role, rubric in judge["rubrics"].items():
        require_known(rubric, study.rubrics, f"{where}.rubrics.{role}", "rubric")
    if judge["engine"]:
        require_known(judge["engine"], study.engines, f"{where}.engine", "engine")
    if judge["backend"] == "vllm":
        require_known(judge["model"], study.models, f"{where}.model", "model")
    elif not judge["endpoint"]:
        raise ConfigError(
            f"{where}.endpoint: null, but an openai judge needs an endpoint: write its base_url"
        )
    settings = (judge_params(study, name), judge_identity(study, name), judge_rubrics(study, name))
    thinking = study.models[judge["model"]]["thinking"] if judge["backend"] == "vllm" else "none"
    check_decoding(load_judge(*settings, where), where, thinking)
    if judge["backend"] == "openai":
        _check_api_judge(judge, where)


def _check_api_judge(judge: dict, where: str) -> None:
    if is_moving(judge) and not judge["endpoint"]["allow_alias"]:
        raise ConfigError(
            f"{where}.model: {judge['model']!r} is an undated alias that its provider may change: "
            "write the dated name (in endpoint.signed_as if the replies carry another name than "
            "the requests), or endpoint.allow_alias: true to have every table marked"
        )
    if judge["limits"] and "usd" in judge["limits"] and not judge["prices"]:
        raise ConfigError(
            f"{where}.limits.usd: {judge['limits']['usd']} needs prices: write "
            "input_per_million and output_per_million"
        )
