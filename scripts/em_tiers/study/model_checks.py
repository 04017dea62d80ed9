"""Checks of models under test behind an API."""

from em_tiers.errors import ConfigError
from em_tiers.study.judge_checks import check_api
from em_tiers.study.study import Study

# Keys of a model that runs here, with their defaults in the schema.
_OF_FILES = {
    "source": None,
    "parameters_b": None,
    "chat_template": None,
    "thinking_marks": None,
    "system_text": "own_message",
}


def check_api_model(study: Study, name: str) -> None:
    """Check a model behind an API; others are checked with their files.

    Raises:
        ConfigError: keys of the other kind of model, or an endpoint that cannot be used.
    """
    entry, where = study.models[name], f"models.{name}"
    if entry["backend"] == "vllm":
        for key in ("model", "endpoint", "limits", "prices"):
            if entry[key]:
                raise ConfigError(
                    f"{where}.{key}: {entry[key]!r} is for a model behind an API: write backend: "
                    f"openai, or remove {key}"
                )
        return
    for key, unset in _OF_FILES.items():
        if entry[key] != unset:
            raise ConfigError(
                f"{where}.{key}: {entry[key]!r} is for a model that runs here: remove it, or "
                "correct backend"
            )
    check_api(entry, where)
