"""What happens beside the training steps: checkpoints are kept and marked, progress is shown."""

import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from em_tiers.errors import UserError
from em_tiers.logs import HEARTBEAT, LOG
from em_tiers.train.checkpoints import copy_weights, mark_complete


class Keeper(TrainerCallback):
    """Marks checkpoints as complete, keeps the weights of the wanted steps, saves on SIGTERM."""

    def __init__(self, steps: list[int], minutes: float):
        self.steps = set(steps)
        self.stopped = False
        self.seconds = 60 * minutes
        self.saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if late := sorted(step for step in self.steps if step > state.max_steps):
            raise UserError(
                f"checkpoints: {late[0]}: the training has {state.max_steps} steps only: name "
                "earlier steps under `checkpoints` of the configuration"
            )
        # A scheduler sends SIGTERM half a minute before it kills. Several processes would have
        # to agree on the step to save; there the regular checkpoints have to do.
        if args.world_size == 1:
            self._previous = signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_: Any) -> None:
        self.stopped = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.stopped:
            control.should_training_stop = True
        if self.stopped or state.global_step in self.steps or self._is_time(args.device):
            control.should_save = True

    def _is_time(self, device: Any) -> bool:
        """Whether the last checkpoint is old, by the first process's clock."""
        due = time.monotonic() - self.saved >= self.seconds
        if torch.distributed.is_initialized():
            word = torch.tensor([due], dtype=torch.uint8, device=device)
            torch.distributed.broadcast(word, 0)
            due = bool(word.item())
        return due

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.saved = time.monotonic()
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # every process has written its part
        if state.is_world_process_zero:
            checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            if state.global_step in self.steps:
                copy_weights(checkpoint, Path(args.output_dir) / "kept" / str(state.global_step))
            mark_complete(checkpoint)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if args.world_size == 1:
            signal.signal(signal.SIGTERM, self._previous)


class Progress(TrainerCallback):
    """A progress bar on a terminal, a log line each tenth of the way elsewhere."""

    def __init__(self) -> None:
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(desc="training", total=state.max_steps, initial=state.global_step)
            HEARTBEAT.muted = True

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        if not state.is_world_process_zero or "loss" not in (logs or {}):
            return
        if self.bar is not None:
            self.bar.n = state.global_step
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}")
            return
        step, last = state.global_step, state.max_steps
        HEARTBEAT.state = f"training: step {step} of {last}, loss {logs['loss']:.3f}"
        if step % max(1, last // 10) == 0:
            LOG.info("%s", HEARTBEAT.state)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        HEARTBEAT.state, HEARTBEAT.muted = "", False
        if self.bar is not None:
            self.bar.close()
