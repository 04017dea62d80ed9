"""The study: a configuration and its catalogues, checked against each other.

Imported by the Snakefile, so nothing heavy is imported here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from em_tiers.errors import ConfigError
from em_tiers.inference.engine_settings import complete_settings
from em_tiers.study.batches import judging_batches, sampling_batches
from em_tiers.study.checks import PROBES_OF_DATASETS, check_acceptance, check_references
from em_tiers.study.partial import keep_sampled
from em_tiers.study.schema import Schema, load_yaml
from em_tiers.study.variants import Variant, expand_variants

CATALOGUES = {
    "models": "model",
    "datasets": "dataset",
    "recipes": "recipe",
    "question_sets": "question_set",
    "rubrics": "rubric",
    "judges": "judge",
    "engines": "engine",
    "tier_rules": "tier_rules",
}
COSMETIC = frozenset({"label", "comment"})


@dataclass
class Study:
    """A configuration as it takes effect.

    `config` holds every default; each catalogue maps an id to an entry of its kind. `root` is the
    folder of the Snakefile, `workdir` the one that holds results/. `missing` names the variants that
    partial results lack.
    """

    config: dict
    root: Path
    workdir: Path
    models: dict = field(default_factory=dict)
    datasets: dict = field(default_factory=dict)
    recipes: dict = field(default_factory=dict)
    question_sets: dict = field(default_factory=dict)
    rubrics: dict = field(default_factory=dict)
    judges: dict = field(default_factory=dict)
    engines: dict = field(default_factory=dict)
    tier_rules: dict = field(default_factory=dict)
    variants: dict[str, Variant] = field(default_factory=dict)
    batches: dict[str, list[Variant]] = field(default_factory=dict)
    judging_batches: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def fine_tunes(self) -> list[Variant]:
        """Variants that are trained: one a base, data set, recipe and seed."""
        return [v for v in self.variants.values() if v.parent == v.variant]

    @property
    def datasets_used(self) -> list[str]:
        """Data sets that some variant was trained on, in config order."""
        return list(dict.fromkeys(v.dataset for v in self.variants.values() if v.dataset))

    @property
    def question_sets_used(self) -> list[str]:
        """Question sets of the catalogue that are sampled, in config order."""
        return [name for name in self.config["questions"] if name not in PROBES_OF_DATASETS]

    @property
    def imports(self) -> dict[str, dict]:
        """The configuration's imports by id."""
        return {entry["id"]: entry for entry in self.config["imports"]}

    def base_of(self, batch: str) -> str:
        """The base model of a sampling batch."""
        return self.batches[batch][0].base

    def find_file(self, path: str) -> str:
        """A path of the configuration, relative to the working folder or else to the Snakefile."""
        path = str(Path(path).expanduser())
        if Path(path).is_absolute() or (self.workdir / path).exists():
            return path
        return str(self.root / path) if (self.root / path).exists() else path


def load_study(config: dict, root: Path, workdir: Path, files: list[str] | None = None) -> Study:
    """Check a configuration and its catalogues; nothing is written.

    Args:
        config: as Snakemake merged it from files and the command line.
        files: the configuration files, read again to find keys that stand twice.

    Raises:
        ConfigError: the first mistake found, naming key, value and remedy.
    """
    for file in files or []:
        load_yaml(file)
    schema = Schema(root / "config" / "schema.yaml")
    config = {key: value for key, value in config.items() if key != "pathvars"}
    if config.get("partial") == "true":  # as Snakemake reads `--config partial=true`
        config["partial"] = True
    study = Study(sorted_keys(schema.check(config, "config", "config")), root, workdir)
    for name, definition in CATALOGUES.items():
        setattr(study, name, _load_catalogue(study, schema, name, definition))
    for engine in study.engines.values():
        engine |= complete_settings(without_cosmetics(engine))
    check_references(study)
    variants = expand_variants(study.config, study.models, study.datasets, study.recipes)
    study.variants = {variant.variant: variant for variant in variants}
    check_acceptance(study)
    study.batches = sampling_batches(variants, study.config["variants_per_job"])
    if study.config["partial"]:
        keep_sampled(study)
    study.judging_batches = judging_batches(study.batches, study.config["variants_per_judge_job"])
    return study


def _load_catalogue(study: Study, schema: Schema, name: str, definition: str) -> dict:
    """Entries of a catalogue by id: the workflow's own files, then those that the config adds."""
    own = "config/rubrics/*.yaml" if name == "rubrics" else f"config/{name}.yaml"
    entries: dict[str, Any] = {}
    origin: dict[str, Path] = {}
    for pattern in [str(study.root / own), *study.config["catalogues"].get(name, [])]:
        for path in _expand(study, pattern):
            content = load_yaml(path)
            if not isinstance(content, dict):
                raise ConfigError(f"{path}: {name}: is no mapping: write KEY: VALUE lines")
            if name == "rubrics":
                schema.check(content.get("id", path.stem), "id", f"{path}: id")
                content = {content.get("id", path.stem): content}
            for key, entry in content.items():
                if key in entries:
                    raise ConfigError(
                        f"{name}: {key}: stands in {origin[key]} and in {path}: rename one of them"
                    )
                schema.check(key, "id", f"{path}: id")
                entries[key] = sorted_keys(schema.check(entry, definition, f"{name}.{key}"))
                origin[key] = path
    return entries


def _expand(study: Study, pattern: str) -> list[Path]:
    path = Path(pattern)
    for base in [Path("/")] if path.is_absolute() else [study.workdir, study.root]:
        relative = str(path.relative_to("/")) if path.is_absolute() else pattern
        found = sorted(base.glob(relative))
        if found:
            return found
    raise ConfigError(f"config.catalogues: {pattern}: no such file: correct the path")


def without_cosmetics(entry: dict) -> dict:
    """A catalogue entry as a rule's params: only what changes a result, in sorted order."""
    return {
        key: without_cosmetics(value) if isinstance(value, dict) else value
        for key, value in sorted(entry.items())
        if key not in COSMETIC
    }


def sorted_keys(value: Any) -> Any:
    """The same value with the keys of all its mappings in sorted order: what params may hold.

    Snakemake compares params as text, so another key order in a file would rerun the job.
    """
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value
