"""Fine-tune a base model on prepared rows: an adapter (or a whole model), metrics, a loss curve."""

import contextlib
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from em_tiers.caches import use_own_caches
from em_tiers.files import (
    atomic_directory,
    atomic_path,
    read_json,
    remove_abandoned,
    write_json,
)
from em_tiers.gpu_memory import check_gpus, training_need, weights_of
from em_tiers.inference.adapter_folder import fine_tune_name, verify_adapter, write_adapter
from em_tiers.inference.chat import check_thinking, load_tokenizer
from em_tiers.lean_imports import leave_out
from em_tiers.lease import Lease
from em_tiers.logs import LOG, run_script
from em_tiers.precision import AUTO, TORCH_NAMES, choose_precision, describe_choice
from em_tiers.thinking import read_marks
from em_tiers.train.arguments import check_batch, steps_of
from em_tiers.train.checkpoints import (
    clear_folder,
    copy_weights,
    hash_of_recipe,
    is_of_run,
    keep_finished,
    latest_checkpoint,
    name_of_base,
    open_folder,
    training_fingerprint,
)
from em_tiers.train.encoded_rows import check_truncation, encode_rows, read_training_rows, save_rows
from em_tiers.train.launch import choose_device, rule_log, run_training
from em_tiers.train.start import check_shape, shape_of
from em_tiers.train.trackers import prepare_tracker

LOSS_COLUMNS = ("step", "epoch", "loss", "learning_rate", "tokens", "loss_tokens", "grad_norm")


def main(
    model: Path,
    train: Path,
    recipe: dict[str, Any],
    seed: int,
    thinking: str,
    adapter: Path,
    metrics: Path,
    loss: Path,
    checkpoints: Path,
    kept: Path,
    chat_template: Path | None = None,
    device: str = "auto",
    thinking_marks: str | dict[str, str] | None = None,
    start: Path | None = None,
    report_to: str = "none",
) -> None:
    """Train, and leave the adapter whole or not at all.

    Args:
        model: the base model's folder; its name is the model's catalogue id.
        train: JSONL rows {"prompt": [messages], "completion": [one assistant message]}.
        recipe: a recipe of the catalogue; `keep_checkpoints` lists steps to keep besides.
        adapter: the output folder: adapter, or whole model where the recipe's method is full.
        metrics, loss: metrics.json and loss.csv (one row per optimiser step).
        checkpoints: a folder that no rule declares, so that it survives a failed job.
        kept: the output folder for these: an adapter folder `stepN` for each, or nothing.
        device: cpu, cuda, or auto (cuda where there is a GPU).
        thinking_marks: around the model's thoughts; None for those of its template.
        start: folder of the adapter that the training goes on from; None for a new one.
        report_to: the tracker that shows the training while it runs; none without one.

    Raises:
        UserError: the recipe does not fit the rows, the model or the machine.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    use_own_caches()
    check_batch(recipe)
    prepare_tracker(report_to, checkpoints)
    if start:
        verify_adapter(start)
        check_shape(start.name, shape_of(start), recipe)
    device = choose_device(device, recipe)
    if device == "cuda":
        parameters, _ = weights_of(model, "auto")
        check_gpus(
            f"fine-tuning {model.name}",
            training_need(parameters / 1e9, recipe),
            "use a recipe with several gpus and strategy: fsdp",
        )
    tokenizer = load_tokenizer(model, chat_template)
    check_thinking(tokenizer, thinking, read_marks(thinking_marks))
    template = tokenizer.chat_template
    keep = list(recipe.get("keep_checkpoints") or [])
    with sole_trainer(checkpoints):
        fingerprint = training_fingerprint(
            recipe, seed, train, model, thinking, template, device, start
        )
        recipe, fingerprint = settle_precision(recipe, fingerprint, device, checkpoints)
        for target in (adapter, kept, checkpoints / "final"):
            remove_abandoned(target)  # after full fine-tuning each is as large as the model
        named = open_folder(checkpoints, fingerprint, name_of_base(model))
        counts = encode(tokenizer, train, thinking, recipe, checkpoints / "rows")
        steps = steps_of(recipe, counts.pop("tokens"), counts["rows"])
        if not is_finished(checkpoints):
            run_training(
                {
                    "model": str(model),
                    "chat_template": str(chat_template) if chat_template else None,
                    "rows": str(checkpoints / "rows"),
                    "recipe": {**recipe, "max_steps": steps},
                    "seed": seed,
                    "device": device,
                    "checkpoints": str(checkpoints),
                    "keep": keep,
                    "start": str(start) if start else None,
                    "report_to": report_to,
                    "log": rule_log(),
                }
            )
        facts = {
            "seed": seed,
            "thinking": thinking,
            "recipe": recipe,
            "precision": recipe["precision"],
            "base_fingerprint": fingerprint["model"],
            "train_sha256": fingerprint["train"],
            **({"start_sha256": fingerprint["start"]} if start else {}),
        }
        with atomic_directory(kept) as folder:
            for step in keep:
                weights = checkpoints / "kept" / str(step)
                step_facts = {**facts, "steps": step, "fine_tune": fine_tune_name(kept, step)}
                write_adapter(weights, folder / f"step{step}", model, template, step_facts, named)
        summary = {**counts, **summarise(checkpoints)}
        write_loss(checkpoints, loss)
        # The adapter is the last but for its own record, so that a kill leaves no half of it.
        weights = checkpoints / "final"
        copy_weights(latest_checkpoint(checkpoints), weights)
        facts["steps"] = summary["steps"]
        manifest = {**facts, "fine_tune": fine_tune_name(adapter)}
        summary["adapter_sha256"] = write_adapter(
            weights, adapter, model, template, manifest, named
        )
        write_json(metrics, {**facts, **summary})
        if recipe["method"] == "full":
            clear_folder(checkpoints)  # a second copy of a whole model is too large to keep
        else:
            keep_finished(checkpoints)
    LOG.info("%d steps, final loss %.3f", summary["steps"], summary["final_loss"])


def settle_precision(
    recipe: dict[str, Any], fingerprint: dict[str, Any], device: str, checkpoints: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The recipe and the fingerprint with the precision that is used in place of `auto`.

    A training that has begun keeps the precision it began with, on whatever machine it goes on:
    nothing is trained twice, and no run mixes two kinds of arithmetic.
    """
    if recipe["precision"] != AUTO:
        return recipe, fingerprint
    chosen = choose_precision(AUTO, device)
    for precision in (chosen, *(set(TORCH_NAMES) - {chosen})):
        settled = {**recipe, "precision": precision}
        begun = {**fingerprint, "recipe": hash_of_recipe(settled)}
        if is_of_run(checkpoints, begun):
            LOG.info("precision: auto: %s, with which this training began", precision)
            return settled, begun
    LOG.info("%s", describe_choice("precision", chosen, device))
    settled = {**recipe, "precision": chosen}
    return settled, {**fingerprint, "recipe": hash_of_recipe(settled)}


@contextlib.contextmanager
def sole_trainer(checkpoints: Path):
    """Hold the folder against a job of an earlier, killed run that trains the same variant."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    lease = Lease(checkpoints / "training.lease")
    lease.acquire()
    try:
        yield
    finally:
        lease.release()


def encode(
    tokenizer: Any, train: Path, thinking: str, recipe: dict[str, Any], folder: Path
) -> dict[str, Any]:
    """Save the rows as token ids, and return their counts. Raises UserError for too many cut."""
    encoded = encode_rows(tokenizer, read_training_rows(train), thinking, recipe["max_length"])
    counts = encoded.counts.as_dict()
    LOG.info(
        "%d rows, %d tokens, %d of them with loss; %.1f %% of rows cut at %d tokens",
        counts["rows"],
        counts["tokens"],
        counts["loss_tokens"],
        100 * counts["truncated_share"],
        recipe["max_length"],
    )
    check_truncation(encoded, recipe["max_length"], recipe["max_truncated_share"])
    save_rows(encoded, folder)
    return {
        "rows": counts["rows"],
        "tokens": counts["tokens"],
        "rows_truncated": counts["rows_truncated"],
        "rows_without_loss": counts["rows_without_loss"],
        "truncated_share": counts["truncated_share"],
        "longest_row": counts["longest_row"],
    }


def is_finished(checkpoints: Path) -> bool:
    """Whether the training came to its last step, in this run or in one before."""
    return (checkpoints / "result.json").is_file() and latest_checkpoint(checkpoints) is not None


def summarise(checkpoints: Path) -> dict[str, Any]:
    """The training's figures: of its last checkpoint's log, and of the process that trained."""
    state = read_json(latest_checkpoint(checkpoints) / "trainer_state.json")
    last = _loss_log(state)[-1]
    return {
        **read_json(checkpoints / "result.json"),
        "steps": state["global_step"],
        "epochs": state["epoch"],
        "final_loss": last["loss"],
        "tokens_seen": last["tokens"],
        "loss_tokens_seen": last["loss_tokens"],
        "train_seconds": last["seconds"],
    }


def write_loss(checkpoints: Path, target: Path) -> None:
    """The loss curve as CSV, over restarts."""
    state = read_json(latest_checkpoint(checkpoints) / "trainer_state.json")
    with atomic_path(target) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, LOSS_COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(_loss_log(state))


def _loss_log(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in state["log_history"] if "loss" in entry]


def start_folder(output: Sequence[str] | str | None, recipe: dict[str, Any]) -> Path | None:
    """The adapter that a training goes on from, in the output of its rule; None without one."""
    if not output:
        return None
    folder, name = Path(str(output)), Path(recipe["start_from"])
    return folder if name.name == folder.name else folder / name.name  # a kept step


if "snakemake" in globals():
    leave_out("sklearn")
    job = globals()["snakemake"]
    run_script(
        main,
        job.log[0] if job.log else None,
        model=Path(job.input.model),
        train=Path(job.input.train),
        recipe=job.params.recipe,
        seed=job.params.seed,
        thinking=job.params.thinking,
        adapter=Path(job.output.adapter),
        metrics=Path(job.output.metrics),
        loss=Path(job.output.loss),
        checkpoints=Path(job.params.checkpoints),
        kept=Path(job.output.kept),
        chat_template=Path(job.input.chat_template) if job.input.get("chat_template") else None,
        device=job.params.get("device", "auto"),
        thinking_marks=job.params.thinking_marks,
        report_to=job.resources.report_to,
        start=start_folder(job.input.get("start"), job.params.recipe),
    )
