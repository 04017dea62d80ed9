"""Partial results: the study as if it held only what is sampled already."""

from em_tiers.errors import ConfigError
from em_tiers.study.study import Study


def keep_sampled(study: Study) -> None:
    """Drop the batches whose responses are not there, and remember their variants as missing.

    Raises:
        ConfigError: nothing is sampled yet.
    """
    folder = study.workdir / study.folder / "responses"
    batches = study.batches
    study.batches = {n: m for n, m in batches.items() if (folder / f"{n}.parquet").is_file()}
    if not study.batches:
        raise ConfigError(
            f"config.partial: true: {folder} holds no responses yet: wait until the first sampling "
            "or import job is done"
        )
    kept = {variant.variant for members in study.batches.values() for variant in members}
    study.missing = [name for name in study.variants if name not in kept]
    study.variants = {name: v for name, v in study.variants.items() if name in kept}
    study.config["imports"] = [
        entry for entry in study.config["imports"] if f"import.{entry['id']}" in kept
    ]


def missing_in_words(study: Study, most: int = 12) -> str:
    """What partial results lack, for the first page and the log; empty when they lack nothing."""
    if not study.missing:
        return ""
    total = len(study.missing) + len(study.variants)
    named = ", ".join(study.missing[:most])
    more = f" and {len(study.missing) - most} more" if len(study.missing) > most else ""
    return (
        f"These results are partial: {len(study.missing)} of {total} variants are missing "
        f"({named}{more})."
    )
