"""What `check_gpu` compares the nodes with, and where it runs."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from em_tiers.gpu_memory import Need, dtype_bytes, engine_need, gib_of, training_need
from em_tiers.study.entries import engine
from em_tiers.study.judges import judge_engine
from em_tiers.study.study import Study

VARIABLE = "EM_TIERS_GPU_PARTITIONS"  # set by the profile, from the site file: gpu=4,a100=8
HERE = "here"


def gpu_partitions(environ: Mapping[str, str] = os.environ) -> dict[str, int]:
    """GPU partitions of the site and the GPUs of their largest node; empty without a site file."""
    pairs = (text.rpartition("=") for text in environ.get(VARIABLE, "").split(",") if text)
    return {name: int(number) for name, _, number in pairs}


def checked_places(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The partitions, or this machine."""
    return list(gpu_partitions(environ)) or [HERE]


def partition_resource(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The resource that sends a check to its partition, if the site names any."""
    if not gpu_partitions(environ):
        return {}
    return {"slurm_partition": lambda wildcards: wildcards.partition}


def gpus_of_check(study: Study, partition: str, environ: Mapping[str, str] = os.environ) -> int:
    """As many GPUs as the study's largest job wants, if a node of the partition has them."""
    wanted = max((need["gpus"] for need in gpu_needs(study)), default=1)
    return min(wanted, gpu_partitions(environ).get(partition, wanted)) or 1


def gpu_needs(study: Study) -> list[dict[str, Any]]:
    """What each kind of GPU job needs: {what, gpus, least_gib, full_gib, bf16}, each kind once."""
    needs: dict[str, Need] = {}
    for model in study.local_models:
        needs |= _engine_needs(study, f"sample {model}", model, engine(study))
    for variant in study.fine_tunes:
        size = study.models[variant.base]["parameters_b"]
        if engine(study)["device"] == "cuda":
            recipe = study.recipes[variant.recipe]
            needs[f"finetune {variant.base}, {variant.recipe}"] = training_need(size, recipe)
    for judge in _local_judges(study):
        model = study.judges[judge]["model"]
        needs |= _engine_needs(study, f"judge {judge}", model, judge_engine(study, judge))
    return [{"what": what} | asdict(need) for what, need in needs.items()]


def disk_gb(study: Study) -> float:
    """Free space that a study wants: its models in bfloat16, as much again, and 20 GB."""
    models = set(study.local_models)
    models |= {study.judges[judge]["model"] for judge in _local_judges(study)}
    return 20 + sum(4 * study.models[model]["parameters_b"] for model in models)


def _local_judges(study: Study) -> list[str]:
    return [j for j in study.asked_judges if study.judges[j]["backend"] == "vllm"]


def _engine_needs(study: Study, what: str, model: str, settings: dict[str, Any]) -> dict[str, Need]:
    if settings["device"] != "cuda":
        return {}
    size = gib_of(
        study.models[model]["parameters_b"],
        dtype_bytes(settings["quantization"] or settings["dtype"]),
    )
    return {what: engine_need(size, settings)}
