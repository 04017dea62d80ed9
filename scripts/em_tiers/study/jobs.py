"""Adapters and host memory of the jobs that load a model.

Paths are relative to the experiment's results folder.
"""

from typing import Any

from em_tiers.gpu_memory import dtype_bytes, gpus_of
from em_tiers.study.asked import question_tables, question_tables_of_batch
from em_tiers.study.study import Study
from em_tiers.study.variants import Variant


def adapter_folder(variant: Variant) -> str:
    """Folder of a variant's adapter: the final one, or that of a kept checkpoint."""
    if variant.checkpoint_step is None:
        return f"adapters/{variant.parent}"
    return f"kept_adapters/{variant.parent}/step{variant.checkpoint_step}"


def adapter_folders(study: Study, batch: str) -> list[str]:
    """Folders of a batch's adapters, in the order of its variants."""
    return [adapter_folder(v) for v in study.batches[batch] if v.parent]


def adapter_outputs(study: Study, batch: str) -> list[str]:
    """The outputs of fine-tuning that hold a batch's adapters, each once.

    Kept checkpoints are folders inside one output, and a rule's input has to be a whole output.
    """
    tuned = [v for v in study.batches[batch] if v.parent]
    final = [f"adapters/{v.parent}" for v in tuned if v.checkpoint_step is None]
    kept = [f"kept_adapters/{v.parent}" for v in tuned if v.checkpoint_step]
    return list(dict.fromkeys([*final, *kept]))


def compared_model(study: Study, batch: str) -> list[str]:
    """Folder of the base model of a batch with a whole fine-tune; empty for other batches."""
    variant = study.batches[batch][0]
    has_files = not variant.imported and study.models[variant.base]["source"]
    return [f"<resources>/models/{variant.base}"] if variant.model and has_files else []


def sampled_variants(study: Study, batch: str) -> list[dict[str, Any]]:
    """The variants of a batch for sample.py: columns, adapter and question tables of each.

    `adapter` and `questions` are indices into `adapter_folders` and `question_tables_of_batch`.
    """
    tables = question_tables_of_batch(study, batch)
    tuned = [v.variant for v in study.batches[batch] if v.parent]
    return [
        v.as_key()
        | {
            "adapter": tuned.index(v.variant) if v.parent else None,
            "questions": [tables.index(t) for t in question_tables(study, v)],
        }
        for v in study.batches[batch]
    ]


def carded_datasets(study: Study, batches: list[str] | None = None) -> list[str]:
    """Data sets whose cards are shown to a judge of these batches; of all batches by default.

    A data set of imported answers has a card only if the study has a judge to show it to.
    """
    chosen = study.batches if batches is None else batches
    shown = bool(study.asked_judges)
    members = (v for batch in chosen for v in study.batches[batch])
    return list(
        dict.fromkeys(v.dataset for v in members if v.dataset and (shown or not v.imported))
    )


def engine_gpus(engine: dict[str, Any]) -> int:
    """GPUs of a job with this engine."""
    return gpus_of(engine)


def engine_memory(study: Study, model: str, engine: dict[str, Any], attempt: int) -> int:
    """Host memory (MB) of a job whose engine serves a model.

    The weights pass through it once in their own format on the way to a GPU; merged with adapters,
    or on a CPU, they are held in up to 4 bytes each. Each of several engines loads its own.
    """
    on_gpu = engine["device"] == "cuda" and engine["adapters"] == "lora"
    bytes_per_weight = dtype_bytes(engine["dtype"]) if on_gpu else 4
    size = study.models[model]["parameters_b"] * bytes_per_weight
    return host_memory(engine["data_parallel"] * size, attempt)


def training_memory(study: Study, base: str, recipe: str, attempt: int) -> int:
    """Host memory (MB) of a fine-tune: the weights that it loads, or gathers for a checkpoint.

    With ddp each process loads the model. With fsdp one does; where all weights are trained, it
    also gathers them and the optimiser's two moments for a checkpoint.
    """
    entry = study.recipes[recipe]
    copies = entry["gpus"]
    if entry["strategy"] == "fsdp" and copies > 1:
        copies = 4 if entry["method"] == "full" else 1
    return host_memory(4 * copies * study.models[base]["parameters_b"], attempt)


def host_memory(weights_gb: float, attempt: int) -> int:
    """Host memory (MB) of a job that holds weights of this size, and more with each attempt.

    The weights' size is known, so the rest grows by as much again and they by a quarter: a model of
    32 billion parameters in bfloat16 stays below 128 GB in its third attempt.
    """
    return int(8000 * attempt + 1000 * weights_gb * (1 + (attempt - 1) / 4))
