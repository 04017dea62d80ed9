"""Checks of a judge beyond the schema: its references, its rubrics, and its backend."""

from em_tiers.api.base_url import is_loopback, split_base_url
from em_tiers.api.extras import check_extras
from em_tiers.api.model_names import is_moving
from em_tiers.errors import ConfigError, UserError, require_known
from em_tiers.judge.published import STAND_IN, is_there
from em_tiers.judge.settings import check_decoding, load_judge
from em_tiers.study.judges import judge_engine, judge_identity, judge_params, judge_rubrics
from em_tiers.study.study import Study

# One of them is in the name of a variable that holds a key.
KEY_WORDS = ("KEY", "TOKEN", "SECRET", "PASS", "AUTH", "LOGIN", "CREDENTIAL")
# Hosts of providers who demand a key; a server of one's own may need none.
PROVIDERS = (
    ".openai.com",
    ".azure.com",
    ".anthropic.com",
    ".googleapis.com",
    ".mistral.ai",
    ".openrouter.ai",
    ".together.xyz",
    ".groq.com",
    ".deepseek.com",
    ".fireworks.ai",
)


def check_judge(study: Study, name: str) -> None:
    """Check a judge of the configuration as its job does, and its references.

    Raises:
        ConfigError: the entry contradicts itself or the catalogues, or one of its rubrics cannot
            be used.
    """
    judge, where = study.judges[name], f"judges.{name}"
    for role, rubric in judge["rubrics"].items():
        require_known(rubric, study.rubrics, f"{where}.rubrics.{role}", "rubric")
        if source := study.rubrics[rubric]["prompt_from"]:
            named = f"rubrics.{rubric}.prompt_from.question_set"
            require_known(source["question_set"], study.question_sets, named, "question set")
    if judge["engine"]:
        require_known(judge["engine"], study.engines, f"{where}.engine", "engine")
    if judge["backend"] == "vllm":
        require_known(judge["model"], study.models, f"{where}.model", "model")
        if study.models[judge["model"]]["backend"] != "vllm":
            raise ConfigError(
                f"{where}.model: {judge['model']!r} is behind an API: write backend: openai, with "
                "its endpoint and the model's name there"
            )
    elif not judge["endpoint"]:
        raise ConfigError(
            f"{where}.endpoint: null, but an {judge['backend']} judge needs an endpoint: write its "
            "base_url"
        )
    rubrics = {role: _checkable(study, raw) for role, raw in judge_rubrics(study, name).items()}
    settings = (judge_params(study, name), judge_identity(study, name), rubrics)
    thinking = study.models[judge["model"]]["thinking"] if judge["backend"] == "vllm" else "none"
    check_decoding(load_judge(*settings, where), where, thinking)
    _check_unused(judge, where)
    if judge["backend"] == "vllm" and judge["mode"] == "batch":
        raise ConfigError(f"{where}.mode: batch needs a judge behind an API: write direct")
    if judge["backend"] == "vllm":
        _check_room(judge, judge_engine(study, name), where)
    if judge["backend"] != "vllm":
        check_api(judge, where)


def _checkable(study: Study, raw: dict) -> dict:
    """A rubric whose published prompt is not downloaded yet, with one like it."""
    source = raw.get("prompt_from")
    if not source:
        return raw
    there = source | {"folder": str(study.workdir / source["folder"])}
    if is_there(there):
        return raw | {"prompt_from": there}
    return {k: v for k, v in raw.items() if k != "prompt_from"} | {"prompt": STAND_IN}


def _check_room(judge: dict, engine: dict, where: str) -> None:
    decoding = judge["decoding"]
    tokens, room = decoding["max_tokens"] + decoding["reasoning_tokens"], engine["max_model_len"]
    if tokens >= room:
        raise ConfigError(
            f"{where}.decoding: max_tokens and reasoning_tokens, {tokens} together, leave no room "
            f"for a prompt within max_model_len {room} of its engine: lower them, or raise it"
        )


def _check_unused(judge: dict, where: str) -> None:
    """Refuse settings that the judge's back-end or method would ignore."""
    other = {"vllm": ("endpoint", "limits", "prices"), "openai": ("engine",)}
    other["anthropic"] = other["openai"]
    for key in other[judge["backend"]]:
        if judge[key]:
            raise ConfigError(
                f"{where}.{key}: {judge[key]!r} is not used by backend {judge['backend']}: remove "
                "it, or correct backend"
            )
    method = judge["method"]
    if method["tolerance"] and method["number"] != "trie":
        raise ConfigError(
            f"{where}.method.tolerance: {method['tolerance']} is used by method.number trie only, "
            f"not by {method['number']}: remove it"
        )


def check_api(judge: dict, where: str) -> None:
    """Check the endpoint, the model's name and the ceilings of a judge or a model under test.

    Raises:
        ConfigError: they contradict each other, or would show a key.
    """
    _check_endpoint(judge["endpoint"], f"{where}.endpoint")
    if is_moving(judge) and not judge["endpoint"]["allow_alias"]:
        raise ConfigError(
            f"{where}.model: {judge['model']!r} is an undated alias that its provider may change: "
            "write the dated name (in endpoint.signed_as if the replies carry another name than "
            "the requests), pin a router's provider of open weights in endpoint.extra_body, or "
            "write endpoint.allow_alias: true to have every table marked"
        )
    prices = judge["prices"]
    per_token = ("input_per_million", "output_per_million")
    priced = prices and any(prices[name] for name in per_token)
    if judge["limits"] and "usd" in judge["limits"] and not priced:
        raise ConfigError(
            f"{where}.limits.usd: {judge['limits']['usd']} needs prices above 0: write "
            "input_per_million and output_per_million"
        )


def _check_endpoint(endpoint: dict, where: str) -> None:
    try:
        parts = split_base_url(endpoint["base_url"])
        check_extras(endpoint["extra_body"], endpoint["headers"])
    except UserError as error:
        raise ConfigError(f"{where}.{error}") from error
    host = parts.hostname
    is_provider = f".{host}".endswith(PROVIDERS)
    if is_provider and parts.scheme == "http":
        raise ConfigError(
            f"{where}.base_url: http would send the key to {host} in plain text: write https"
        )
    if parts.scheme == "http" and not is_loopback(host) and not endpoint["plain_http"]:
        raise ConfigError(
            f"{where}.base_url: http would send all texts, and a key, to {host} in plain text: "
            f"write https, or {where}.plain_http: true if the network between is your own"
        )
    name = endpoint["key_env"]
    if name and not any(word in name for word in KEY_WORDS):
        raise ConfigError(
            f"{where}.key_env: {name!r} does not look like the name of a key, and its value would "
            f"be sent to {host}: name a variable with {', '.join(KEY_WORDS)} in its name"
        )
    if not name and is_provider:
        raise ConfigError(
            f"{where}.key_env: null, but {host} refuses requests without a key: name the "
            "environment variable that holds it"
        )
