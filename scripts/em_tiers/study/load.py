"""A configuration and its catalogues become a checked study.

Imported by the Snakefile, so nothing heavy is imported here.
"""

from pathlib import Path
from typing import Any

from em_tiers.errors import ConfigError, require_known
from em_tiers.inference.engine_settings import complete_settings
from em_tiers.study.batches import judging_batches, sampling_batches
from em_tiers.study.brought import describe_datasets, expand_blocks
from em_tiers.study.checks import check_expanded, check_references
from em_tiers.study.import_entries import expand_imports
from em_tiers.study.params import sorted_keys, without_cosmetics
from em_tiers.study.partial import keep_sampled
from em_tiers.study.pins import apply_pins
from em_tiers.study.schema import Schema, load_yaml
from em_tiers.study.sequences import derive_recipes
from em_tiers.study.study import CATALOGUES, Study
from em_tiers.study.variants import expand_variants


def load_study(
    config: dict,
    root: Path,
    workdir: Path,
    files: list[str] | None = None,
    pinned: bool = True,
) -> Study:
    """Check a configuration and its catalogues; nothing is written.

    Args:
        config: as Snakemake merged it from files and the command line.
        files: the configuration files, read again to find duplicate keys.
        pinned: whether revisions that are left open come from the working folder's pins.

    Raises:
        ConfigError: the first mistake found, naming key, value and remedy.
    """
    if set("{}") & set(str(root)):
        raise ConfigError(
            f"{root}: Snakemake reads a brace in the path of the workflow as the name of a "
            "variable: move the workflow to a folder without { and }"
        )
    for file in files or []:
        load_yaml(file)
    schema = Schema(root / "config" / "schema.yaml")
    if "pathvars" in config:
        # Adapters and journals would stay where they are, and sampling could load old ones.
        raise ConfigError(
            "config.pathvars: results/EXPERIMENT cannot be moved: remove this key, and use "
            "snakemake --directory FOLDER for another place"
        )
    if config.get("partial") == "true":  # as Snakemake reads `--config partial=true`
        config = {**config, "partial": True}
    study = Study(sorted_keys(schema.check(config, "config", "config")), root, workdir)
    for name, definition in CATALOGUES.items():
        setattr(study, name, _load_catalogue(study, schema, name, definition))
    _fill_prices(study)
    for engine in study.engines.values():
        engine |= complete_settings(without_cosmetics(engine))
    study.config["imports"] = expand_imports(study)
    study.config["variants"] = expand_blocks(study)
    describe_datasets(study)
    check_references(study)
    if pinned:
        apply_pins(study)
    derive_recipes(study)
    variants = expand_variants(study.config, study.models, study.datasets, study.recipes)
    study.variants = {variant.variant: variant for variant in variants}
    check_expanded(study)
    study.batches = sampling_batches(variants, study.config["variants_per_job"])
    if study.config["partial"]:
        keep_sampled(study)
    study.judging_batches = judging_batches(study.batches, study.config["variants_per_judge_job"])
    return study


def _fill_prices(study: Study) -> None:
    """Put prices in the place of the names by which judges and models refer to them."""
    for catalogue in ("judges", "models"):
        for name, entry in getattr(study, catalogue).items():
            if isinstance(entry["prices"], str):
                where = f"{catalogue}.{name}.prices"
                require_known(entry["prices"], study.prices, where, "price")
                entry["prices"] = without_cosmetics(study.prices[entry["prices"]])


def _load_catalogue(study: Study, schema: Schema, name: str, definition: str) -> dict:
    """Entries of a catalogue by id: the workflow's own files, then those that the config adds."""
    own = "config/rubrics/*.yaml" if name == "rubrics" else f"config/{name}.yaml"
    entries: dict[str, Any] = {}
    origin: dict[str, Path] = {}
    for pattern in [str(study.root / own), *study.config["catalogues"].get(name, [])]:
        for path in _expand(study, pattern):
            content = load_yaml(path)
            if not isinstance(content, dict):
                raise ConfigError(f"{path}: not a mapping of {name}: write KEY: VALUE lines")
            if name == "rubrics":
                schema.check(content.get("id", path.stem), "id", f"{path}: id")
                content = {content.get("id", path.stem): content}
            for key, entry in content.items():
                if key in entries:
                    raise ConfigError(
                        f"{name}.{key}: this id is in both {origin[key]} and {path}: rename one"
                    )
                schema.check(key, "id", f"{path}: id")
                entries[key] = sorted_keys(schema.check(entry, definition, f"{name}.{key}"))
                origin[key] = path
    return entries


def _expand(study: Study, pattern: str) -> list[Path]:
    path = Path(pattern)
    for base in [Path("/")] if path.is_absolute() else [study.workdir, study.root]:
        relative = str(path.relative_to("/")) if path.is_absolute() else pattern
        try:
            found = sorted(base.glob(relative))
        except (ValueError, IndexError, NotImplementedError, OSError) as error:
            raise ConfigError(
                f"config.catalogues: {pattern!r} is not a pattern of files ({error}): write a path "
                "in which * stands for any name and ** for any folders"
            ) from None
        if found:
            return found
    raise ConfigError(f"config.catalogues: no such file {pattern!r}: correct the path")
