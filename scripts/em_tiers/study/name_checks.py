"""Names and labels by which tables and figures tell models, data sets and judges apart."""

from collections.abc import Iterable

from em_tiers.errors import ConfigError
from em_tiers.study.judges import judge_ids
from em_tiers.study.study import Study

# What tables write in place of a judge or a model: a total, and labels by people.
RESERVED = ("all", "human")


def check_names(study: Study) -> None:
    """Check that no name in use is reserved and that no two labels in use are the same.

    Raises:
        ConfigError: the first that is.
    """
    judges = judge_ids(study)
    _check_reserved("judges", judges)
    _check_reserved("models", [v.variant for v in study.variants.values()])
    _check_labels(
        "models", _labels(study.models, {name for v in _own(study) for name in (v.base, v.loaded)})
    )
    _check_labels("datasets", _labels(study.datasets, {v.dataset for v in _own(study)}))
    _check_labels("recipes", _labels(study.recipes, {v.recipe for v in _own(study)}))
    _check_labels("variants", {v.variant: v.label for v in _own(study)})
    _check_labels("question_sets", _labels(study.question_sets, study.question_sets_used))
    own = {name: study.judges[name] for name in study.config["judges"]}
    _check_labels("judges", _labels(own, judges))
    _check_labels("config.imports", _labels(study.imports, study.imports))


def _own(study: Study) -> list:
    return [variant for variant in study.variants.values() if not variant.imported]


def _labels(catalogue: dict, names: Iterable[str | None]) -> dict[str, str]:
    """Label, or else id, of each entry in use."""
    return {
        name: (catalogue[name]["label"] if name in catalogue else None) or name
        for name in sorted(filter(None, names))
    }


def _check_reserved(where: str, names: Iterable[str]) -> None:
    for name in names:
        if name in RESERVED:
            raise ConfigError(
                f"{where}.{name}: tables use the name {name!r} themselves: choose another"
            )


def _check_labels(where: str, labels: dict[str, str]) -> None:
    seen: dict[str, str] = {}
    for name, label in labels.items():
        key = " ".join(label.split()).casefold()
        if key in seen:
            raise ConfigError(
                f"{where}.{name}.label: {label!r} is also shown for {seen[key]}: give one of them "
                "another label, or tables and figures cannot tell them apart"
            )
        seen[key] = name
