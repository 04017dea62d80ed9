"""The study: a configuration as it takes effect, with its catalogues, variants and batches.

Imported while the workflow is parsed, so nothing heavy is imported here.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from em_tiers.study.variants import Variant
from em_tiers.terms import DATASET_PROBES

# Catalogue -> the definition of its entries in config/schema.yaml.
CATALOGUES = {
    "models": "model",
    "datasets": "dataset",
    "recipes": "recipe",
    "question_sets": "question_set",
    "rubrics": "rubric",
    "judges": "judge",
    "engines": "engine",
    "tier_rules": "tier_rules",
    "prices": "price",
}


@dataclass
class Study:
    """A configuration as it takes effect.

    Attributes:
        config: the configuration with every default.
        root: folder of the Snakefile.
        workdir: folder that holds results/.
        models, datasets, recipes, question_sets, rubrics, judges, engines, tier_rules, prices:
            catalogues, each {id: entry}.
        variants: models under test by id, in the order of the configuration.
        batches: variants whose answers are in one file of responses, by the batch's id.
        judging_batches: ids of `batches` that one start of a judge scores, by its own id.
        missing: variants that partial results lack.
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
    prices: dict = field(default_factory=dict)
    variants: dict[str, Variant] = field(default_factory=dict)
    batches: dict[str, list[Variant]] = field(default_factory=dict)
    judging_batches: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def folder(self) -> str:
        """Folder of the experiment, relative to the working folder."""
        return f"results/{self.config['experiment']}"

    @property
    def results_folder(self) -> str:
        """Folder of verdicts and everything drawn from them; partial results have their own."""
        return f"{self.folder}/partial" if self.config["partial"] else self.folder

    @property
    def fine_tunes(self) -> list[Variant]:
        """Variants that are trained: one per base, data set, recipe and seed."""
        return [v for v in self.variants.values() if v.parent == v.variant and not v.adapter]

    @property
    def datasets_used(self) -> list[str]:
        """Data sets that some variant was trained on, in config order."""
        return list(dict.fromkeys(v.dataset for v in self.variants.values() if v.dataset))

    @cached_property
    def datasets_by_owner(self) -> dict[str, list[str]]:
        """Data sets by owner: each data set owns itself, and a base model those of its fine-tunes.

        Computed once, because it is looked up for every variant: read it when `variants` is final.
        """
        owned: dict[str, dict[str, None]] = {}
        for variant in self.variants.values():
            if variant.dataset:
                owned.setdefault(variant.dataset, {})[variant.dataset] = None
                owned.setdefault(variant.base, {})[variant.dataset] = None
        return {owner: list(datasets) for owner, datasets in owned.items()}

    def has_rows(self, dataset: str) -> bool:
        """Whether a data set has rows, and is not described only."""
        return any(self.datasets[dataset][key] is not None for key in ("source", "mixture"))

    def parts_of(self, dataset: str) -> list[str]:
        """The data sets that are mixed, or the data set itself."""
        mixture = self.datasets[dataset]["mixture"]
        return [part["id"] for part in mixture] if mixture else [dataset]

    @property
    def question_sets_used(self) -> list[str]:
        """Question sets of the catalogue that are sampled, in config order."""
        return [name for name in self.config["questions"] if name not in DATASET_PROBES]

    @property
    def imports(self) -> dict[str, dict]:
        """The configuration's imports by id."""
        return {entry["id"]: entry for entry in self.config["imports"]}

    @property
    def asked_judges(self) -> list[str]:
        """Judges of the catalogue that may be asked: the study's, and one to be qualified."""
        return list(dict.fromkeys([*self.config["judges"], *filter(None, [self.config["judge"]])]))

    @property
    def local_models(self) -> list[str]:
        """Models of the catalogue under test that run here, in config order."""
        own = [v for v in self.variants.values() if not v.imported]
        names = dict.fromkeys([*(v.base for v in own), *(v.loaded for v in own)])
        return [name for name in names if self.models[name]["backend"] == "vllm"]

    def model_of(self, batch: str) -> str:
        """The model of the catalogue that a sampling batch loads or asks."""
        return self.batches[batch][0].loaded

    def find_file(self, path: str) -> str:
        """A path of the configuration, relative to the working folder or else to the Snakefile."""
        with suppress(RuntimeError):  # a home folder of no user
            path = str(Path(path).expanduser())
        if Path(path).is_absolute() or is_there(self.workdir / path):
            return path
        return str(self.root / path) if is_there(self.root / path) else path


def is_there(path: Path, folder: bool = True) -> bool:
    """Whether a path of the configuration is a file, or a folder if that is allowed."""
    try:
        return path.exists() if folder else path.is_file()
    except (OSError, ValueError):  # too long, or holds what no path can
        return False
