"""Partial results: the study reduced to the variants that are already sampled."""

from em_tiers.errors import ConfigError
from em_tiers.study.study import Study


def keep_sampled(study: Study) -> None:
    """Drop the batches without a file of responses, and record their variants as missing.

    Raises:
        ConfigError: nothing is sampled yet.
    """
    folder = study.workdir / study.folder / "responses"
    batches = study.batches
    study.batches = {n: m for n, m in batches.items() if (folder / f"{n}.parquet").is_file()}
    if not study.batches:
        raise ConfigError(
            f"config.partial: true: {folder} holds no responses yet: wait for the first sampling "
            "or import job to finish"
        )
    kept = {variant.variant for members in study.batches.values() for variant in members}
    study.missing = [name for name in study.variants if name not in kept]
    study.variants = {name: v for name, v in study.variants.items() if name in kept}
    study.config["imports"] = [
        entry for entry in study.config["imports"] if f"import.{entry['id']}" in kept
    ]


def missing_in_words(study: Study, most: int = 12) -> str:
    """A sentence that names missing variants, for the first page and the log; empty if none are."""
    if not study.missing:
        return ""
    total = len(study.missing) + len(study.variants)
    named = ", ".join(study.missing[:most])
    more = f" and {len(study.missing) - most} more" if len(study.missing) > most else ""
    return (
        f"These results are partial: {len(study.missing)} of {total} variants are missing "
        f"({named}{more})."
    )
