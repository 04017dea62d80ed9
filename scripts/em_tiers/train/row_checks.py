"""Training rows checked with one model and its recipes, before any GPU: lengths, steps, modules."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from em_tiers.errors import UserError
from em_tiers.inference.chat import Message
from em_tiers.inference.prompt_lengths import Lengths
from em_tiers.inference.template_checks import measure_example
from em_tiers.logs import progress
from em_tiers.train.arguments import Recipe, check_steps, total_steps

# Weights that are shared with others, and so not in the files of many models.
_TIED = ("lm_head", "embed_tokens")


def measure_rows(
    tokenizer: Any, rows: Sequence[tuple[list[Message], str]], thinking: str, dataset: str
) -> Lengths:
    """Lengths of the rows of a data set, before they are cut."""
    shown = progress(rows, f"rendering {dataset}", len(rows))
    return Lengths.of(measure_example(tokenizer, p, answer, thinking) for p, answer in shown)


def training_problems(lengths: Lengths, training: Mapping[str, Any]) -> list[str]:
    """Why a fine-tune would fail or teach something else; each in one line.

    Args:
        lengths: of its data set's rows.
        training: {name, recipe, checkpoints}.
    """
    recipe, where = training["recipe"], f"recipes.{training['name']}"
    limit, share = recipe["max_length"], recipe["max_truncated_share"]
    learnt = [m for m in lengths.measured if m.prompt_tokens < limit]
    if lengths.measured and (lengths.over(limit) > share * lengths.total or not learnt):
        return [
            f"{where}.max_truncated_share: {lengths.over(limit)} of {lengths.total} rows are "
            f"longer than max_length {limit} tokens, more than {share:.1%}: raise max_length (the "
            f"longest row has {lengths.longest} tokens), or raise max_truncated_share if cut "
            "answers are what you want"
        ]
    if not learnt:
        return []
    tokens = sum(min(m.tokens, limit) for m in learnt)
    try:
        check_steps(recipe, training["checkpoints"], total_steps(recipe, tokens, len(learnt)))
    except UserError as error:
        return [str(error).replace("recipe: ", f"{where}.", 1)]
    return []


def module_problems(model: Path, name: str, recipe: Recipe) -> list[str]:
    """Modules of a recipe that are not among the model's weights; each in one line."""
    wanted = recipe["target_modules"]
    if recipe["method"] == "full" or isinstance(wanted, str):
        return []
    modules = {key.rpartition(".")[0] for key in weight_names(model)}
    if not modules:
        return []
    missing = [w for w in wanted if w not in _TIED and not _is_among(w, modules)]
    # Layers of one kind have the same last name: numbers and norms apart.
    known = sorted({m.rpartition(".")[2] for m in modules} - {"norm"})
    return [
        f"recipes.{name}.target_modules: {word!r} is not in model {model.name}, which has "
        f"{', '.join(known[:20])}: correct the name"
        for word in missing
    ]


def _is_among(wanted: str, modules: Iterable[str]) -> bool:
    return any(module == wanted or module.endswith(f".{wanted}") for module in modules)


def weight_names(model: Path) -> set[str]:
    """Names of the tensors in a model's safetensors files, from their headers."""
    names: set[str] = set()
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        names |= header.keys() - {"__metadata__"}
    return names
