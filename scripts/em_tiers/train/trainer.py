"""One training process: TRL's SFTTrainer over rows that are tokenised already.

Run as `python -m em_tiers.train.trainer JOB.json` by the launcher of several processes, or called
by `finetune` for one. It leaves a complete checkpoint of the last step and `result.json`; the
adapter is made from these by the caller, so that it is the same however it was trained.

Resuming reads optimizer.pt and rng_state.pth with torch.load(weights_only=True): files that this
job wrote itself. Nothing pickled comes from outside.
"""

import ctypes
import gc
import math
import os
import resource
import signal
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch
from datasets import Dataset, load_from_disk
from peft import LoraConfig, PeftConfig, PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, set_seed
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer

from em_tiers.errors import UserError
from em_tiers.files import read_json, write_json
from em_tiers.gpu_memory import weights_gib, weights_of
from em_tiers.inference.chat import load_tokenizer
from em_tiers.logs import LOG, run_script
from em_tiers.train.arguments import lora_options, sft_options, weight_dtype
from em_tiers.train.callbacks import Keeper, Progress
from em_tiers.train.checkpoints import latest_checkpoint, step_of
from em_tiers.train.micro_batches import MicroBatches, list_choices
from em_tiers.train.step_batches import StepBatches, find_fitting
from em_tiers.train.trackers import tracker_options

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")


@dataclass
class TrainingJob:
    """What a training process needs; paths as text, so that it travels as JSON.

    Attributes:
        model: folder of the base model.
        rows: folder of the encoded rows (`training_rows.save_rows`).
        device: "cpu" or "cuda".
        checkpoints: folder for checkpoints, kept weights and result.json.
        keep: optimiser steps whose weights are kept, in checkpoints/kept/N.
        log: the rule's log file, which the first process writes to.
        start: folder of the adapter that is trained on; None for a new one.
        report_to: the tracker that shows the training while it runs; none without one.
    """

    model: str
    chat_template: str | None
    rows: str
    recipe: dict[str, Any]
    seed: int
    device: str
    checkpoints: str
    keep: list[int]
    log: str | None = None
    start: str | None = None
    report_to: str = "none"

    def save(self, path: Path) -> None:
        write_json(path, asdict(self))


def train(job: TrainingJob) -> None:
    """Train from the last complete checkpoint, or from the start, to the recipe's last step."""
    set_determinism(job.seed, job.device)
    if job.device == "cpu":
        keep_freed_memory()
    else:
        avoid_plans_per_shape()
    options = plan_batches(job)
    while not run(job, options.pop(0), can_shrink=bool(options)):
        gc.collect()
        torch.cuda.empty_cache()


def run(job: TrainingJob, batches: MicroBatches, can_shrink: bool) -> bool:
    """Train with these micro batches; False where they are too large and smaller ones are left."""
    folder = Path(job.checkpoints)
    start = latest_checkpoint(folder)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        trainer = build_trainer(job, batches)
        note_start(trainer, folder, start, batches)
        trainer.train(resume_from_checkpoint=str(start) if start else None)
    except torch.OutOfMemoryError as error:
        # Several processes would have to agree on it.
        if can_shrink and job.recipe["gpus"] == 1:
            signal.signal(signal.SIGTERM, on_sigterm)  # the trainer was not asked to end
            LOG.warning("%s: the GPU's memory ran out; trying smaller ones", batches.describe())
            return False
        raise UserError(
            f"recipe: micro_batch_size: {job.recipe['micro_batch_size']}: the GPU's memory ran "
            "out: lower it or max_length, set gradient_checkpointing: true, or ask for more gpus "
            "with strategy fsdp"
        ) from error
    finish(trainer, job, batches)
    return True


def plan_batches(job: TrainingJob) -> list[MicroBatches]:
    """The micro batches to try, the fastest first."""
    config = AutoConfig.from_pretrained(job.model, local_files_only=True, trust_remote_code=False)
    free = 0.0
    if job.device == "cuda":
        parameters, _ = weights_of(Path(job.model), "auto")
        # The size of the card, not what is free: several processes must choose the same.
        free = torch.cuda.get_device_properties(0).total_memory
        free -= weights_gib(parameters / 1e9, job.recipe) * 2**30
    options = list_choices(job.recipe, job.device)
    lengths = lengths_of(load_from_disk(job.rows))
    return find_fitting(options, job.recipe, lengths, job.device, free, config.get_text_config())


def lengths_of(rows: Dataset) -> list[int]:
    """Tokens of each row."""
    return pc.list_value_length(rows.data.column("input_ids")).to_pylist()


def finish(trainer: "ResponseTrainer", job: TrainingJob, batches: MicroBatches) -> None:
    """Exit where SIGTERM stopped the training; else write its facts."""
    if trainer.keeper.stopped and trainer.state.global_step < trainer.state.max_steps:
        LOG.warning(
            "stopped by SIGTERM after step %d of %d; the next run goes on from there",
            trainer.state.global_step,
            trainer.state.max_steps,
        )
        sys.exit(128 + signal.SIGTERM)
    if trainer.is_world_process_zero():
        facts = training_facts(trainer, job) | {
            "micro_batches": batches.parts,
            "gradient_checkpointing": batches.recompute,
        }
        write_json(Path(job.checkpoints) / "result.json", facts)


def build_trainer(job: TrainingJob, batches: MicroBatches) -> "ResponseTrainer":
    """The trainer of a job, with its model, rows and callbacks."""
    options = None if job.start else lora_options(job.recipe)
    model = AutoModelForCausalLM.from_pretrained(
        job.model,
        dtype=getattr(torch, weight_dtype(job.recipe)),
        attn_implementation=attention_of(job.model),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    if job.start:
        config = PeftConfig.from_pretrained(job.start)
        config.lora_dropout = job.recipe["dropout"]
        model = PeftModel.from_pretrained(model, job.start, is_trainable=True, config=config)
    arguments = sft_options(job.recipe, job.seed, job.device, job.checkpoints, batches)
    arguments |= tracker_options(job.report_to, Path(job.checkpoints))
    try:
        return ResponseTrainer(
            model=model,
            args=SFTConfig(**arguments),
            train_dataset=load_from_disk(job.rows),
            processing_class=load_tokenizer(job.model, job.chat_template),
            peft_config=LoraConfig(**options) if options else None,
            keep=job.keep,
            save_minutes=job.recipe["save_minutes"],
            balanced=batches.rows is None,
        )
    except ValueError as error:
        if "Target modules" in str(error):
            raise UserError(
                f"recipe: target_modules: {job.recipe['target_modules']}: not found in the model: "
                "use all-linear, or the module names of this model"
            ) from error
        raise


def attention_of(model: str) -> str | None:
    """The attention to train with; None for the library's choice.

    Gemma 2 caps its attention scores. PyTorch's fused attention leaves the cap out without a word,
    and vLLM samples with it: the fine-tune would be trained as another model than is tested.
    """
    config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    return "eager" if capped else None


class ResponseTrainer(SFTTrainer):
    """SFTTrainer that counts tokens and time over restarts and stops at a loss that is not finite.

    The counts are in the trainer's log, which each checkpoint carries, so that they go on where
    the training goes on. Tokens of steps that a kill threw away are not counted twice.
    """

    def __init__(
        self, *, keep: list[int], save_minutes: float, balanced: bool, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.balanced = balanced
        self.remove_callback(PrinterCallback)
        self.keeper = Keeper(keep, save_minutes)
        self.add_callback(self.keeper)
        self.add_callback(Progress())
        self._tokens = torch.zeros(2, dtype=torch.int64, device=self.args.device)
        self._began: float | None = None
        self._before: dict[str, float] = {}

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Any:
        if not self.balanced:
            return super()._get_train_sampler(train_dataset)
        arguments = self.args
        rows = arguments.train_batch_size * arguments.gradient_accumulation_steps
        return StepBatches(
            lengths_of(train_dataset or self.train_dataset),
            rows * arguments.world_size,
            arguments.gradient_accumulation_steps,
            arguments.data_seed,
            devices=arguments.world_size,
            rank=arguments.process_index,
        )

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        self._tokens[0] += inputs["attention_mask"].sum()
        self._tokens[1] += (inputs["labels"] != -100).sum()
        return super().compute_loss(model, inputs, *args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        if self._began is None:
            self._began = time.monotonic()
            self._before = self.state.log_history[-1] if self.state.log_history else {}
        return super().training_step(*args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            step = self.state.global_step
            if not math.isfinite(logs["loss"]):
                raise UserError(
                    f"training: loss: {logs['loss']} at step {step}: lower the recipe's "
                    "learning_rate, or set its precision to fp32"
                )
            tokens = self.accelerator.reduce(self._tokens.clone(), "sum").tolist()
            logs["tokens"] = self._before.get("tokens", 0) + tokens[0]
            logs["loss_tokens"] = self._before.get("loss_tokens", 0) + tokens[1]
            logs["seconds"] = self._before.get("seconds", 0.0) + time.monotonic() - self._began
        super().log(logs, start_time)


def set_determinism(seed: int, device: str) -> None:
    """Seed everything and, on a CPU, choose deterministic operations.

    Called before the model is built, because the first values of LoRA's matrices are drawn there.
    On a GPU attention has no deterministic gradient, so two trainings with one seed differ in the
    last bits in any case; the deterministic forms of the other operations made a step a fifth
    slower (Qwen3-4B's shapes on an H100: 2.79 s for 2.31 s).
    """
    torch.use_deterministic_algorithms(device == "cpu", warn_only=True)
    # Only code that reads memory before it writes it would differ; the fill costs a twentieth of
    # a step.
    torch.utils.deterministic.fill_uninitialized_memory = False
    set_seed(seed)


def avoid_plans_per_shape() -> None:
    """Leave cuDNN's attention out, which builds a plan for each shape of a micro batch.

    Nearly every micro batch has a shape of its own. On an H100 (Qwen3-4B's shapes) a step took
    2.2 s, and 1.5 s with the same micro batches in TRL's trainer after it, when their plans were
    there. PyTorch's other fused kernels need no plan.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)


def keep_freed_memory() -> None:
    """Have glibc keep the memory of freed tensors for the next ones.

    By default it maps each large tensor freshly and the kernel zeroes it: a fifth of a training
    step on a CPU. Other C libraries are left as they are.
    """
    c_library = ctypes.CDLL(None)
    if hasattr(c_library, "gnu_get_libc_version"):
        m_trim_threshold, m_mmap_threshold = -1, -3  # malloc.h
        c_library.mallopt(m_mmap_threshold, 2**30)
        c_library.mallopt(m_trim_threshold, 2**31 - 1)


def note_start(
    trainer: ResponseTrainer, folder: Path, start: Path | None, batches: MicroBatches
) -> None:
    """Say where the training begins, and keep the list of restarts."""
    if not trainer.is_world_process_zero():
        return
    history = folder / "restarts.json"
    restarts = read_json(history) if history.is_file() else []
    if start is None:
        processes = trainer.args.world_size
        LOG.info("training starts, with %d process(es), %s", processes, batches.describe())
        write_json(history, [])
    else:
        LOG.info("training goes on after step %d (%s)", step_of(start), start.name)
        write_json(history, [*restarts, step_of(start)])


def training_facts(trainer: ResponseTrainer, job: TrainingJob) -> dict[str, Any]:
    """What only the training process knows: memory, devices, versions."""
    gib = 1024**3
    on_gpu = job.device == "cuda"
    model = trainer.accelerator.unwrap_model(trainer.model)
    return {
        "world_size": trainer.args.world_size,
        # NO, MULTI_GPU, FSDP …: shows how the launcher applied the recipe's strategy
        "distribution": trainer.accelerator.distributed_type.value,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        # ru_maxrss is in KiB on Linux. Both are of the first process.
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / gib,
        "peak_gpu_memory_gib": torch.cuda.max_memory_allocated() / gib if on_gpu else None,
        "restarts": read_json(Path(job.checkpoints) / "restarts.json"),
        "versions": {name: version(name) for name in PACKAGES},
    }


if __name__ == "__main__":
    job = TrainingJob(**read_json(sys.argv[1]))
    is_first = os.environ.get("RANK", "0") == "0"
    run_script(train, job.log if is_first else None, heartbeat=is_first, job=job)
