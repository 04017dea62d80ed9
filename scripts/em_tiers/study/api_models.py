"""Models under test behind an API: their identity, and the params of the rule that samples them."""

from typing import Any

from em_tiers.api.extras import identity_of_extras
from em_tiers.hashing import hash_of
from em_tiers.study.asked import question_tables, question_tables_of_batch
from em_tiers.study.study import Study


def is_api(study: Study, model: str) -> bool:
    """Whether a model of the catalogue is behind an API."""
    return study.models[model]["backend"] == "openai"


def api_batches(study: Study) -> list[str]:
    """Sampling batches that ask a model behind an API; each holds one variant."""
    own = (name for name, members in study.batches.items() if not members[0].imported)
    return [name for name in own if is_api(study, study.model_of(name))]


def api_pattern(study: Study) -> str:
    """Wildcard constraint of these batches; it matches nothing without any."""
    return "|".join(name.replace(".", r"\.") for name in api_batches(study)) or "(?!)"


def endpoint_identity(entry: dict[str, Any]) -> dict[str, Any]:
    """The identity of a model behind an API: its server, its name and its extra parameters."""
    endpoint = entry["endpoint"]
    identity = {
        "backend": entry["backend"],
        # The same name may stand for different weights on another server.
        "server": endpoint["served_by"] or endpoint["base_url"],
        "model": entry["model"],
    }
    signed_as = endpoint["signed_as"]
    extras = identity_of_extras(endpoint["extra_body"], endpoint["headers"])
    return identity | ({"signed_as": signed_as} if signed_as else {}) | extras


def api_model(study: Study, model: str, results: str) -> dict[str, Any]:
    """A model behind an API for sample_api.py; its journal is below `results`."""
    entry = study.models[model]
    kept = {key: entry[key] for key in ("endpoint", "limits", "model", "prices", "thinking")}
    return kept | {
        "name": model,
        "identity": endpoint_identity(entry),
        "journal": f"{results}/journals/sample/{model}",
    }


def api_base(study: Study, batch: str, results: str) -> dict[str, Any] | None:
    """The base model of a batch, if both are behind an API."""
    variant = study.batches[batch][0]
    if not variant.model or not is_api(study, variant.base):
        return None
    return api_model(study, variant.base, results)


def api_variant(study: Study, batch: str) -> dict[str, Any]:
    """The variant of a batch for sample_api.py: its columns, and the indices of its questions."""
    variant, tables = study.batches[batch][0], question_tables_of_batch(study, batch)
    return variant.as_key() | {
        "questions": [tables.index(table) for table in question_tables(study, variant)]
    }


def api_slots(study: Study) -> dict[str, list[str]]:
    """Sampling batches by the resource that the jobs which ask one model share."""
    slots: dict[str, list[str]] = {}
    for batch in api_batches(study):
        for model in asked_models(study, [batch]):
            slots.setdefault(f"api_{hash_of(['model', model], 12)}", []).append(batch)
    return slots


def asked_models(study: Study, batches: list[str]) -> list[str]:
    """Models behind an API that the sampling of these batches asks."""
    members = [study.batches[batch][0] for batch in batches]
    models = [name for v in members for name in (v.loaded, v.base) if is_api(study, name)]
    return list(dict.fromkeys(models))
