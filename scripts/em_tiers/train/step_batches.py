"""The rows of each optimiser step, cut into micro batches that fit the device."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformers.trainer_pt_utils import BatchRebalanceSampler

from em_tiers.train.micro_batches import MicroBatches, activation_bytes

# What a micro batch costs beside its tokens, as so many more of them. A CPU's was measured
# (SmolLM2-135M with LoRA: 24 ms per token at 64 tokens, 16 at 256, 15 at 1,024); a GPU's, which
# waits for kernels to be launched, is an estimate.
_OVERHEAD = {"cpu": 40, "cuda": 500}
# Of a GPU's memory, beside what the loss needs: the rest is lost to fragments and CUDA itself.
_USABLE = 0.85
# The loss is computed over so many tokens at a time, with so many bytes for each word of the
# vocabulary (bf16 and fp32 logits, and their gradients).
_LOSS_TOKENS, _LOSS_BYTES = 256, 14
_STEPS_SEEN = 200  # for the sizes of micro batches


class StepBatches(BatchRebalanceSampler):
    """Micro batches of nearly equal cost, of rows of about one length.

    The rows of each step are those that the trainer's own sampler draws with this seed. In a last
    step with fewer rows than parts no row is repeated where one device trains.
    """

    def __init__(self, lengths: Sequence[int], step_rows: int, parts: int, seed: int, **ranks: int):
        super().__init__(
            lengths=list(lengths),
            effective_batch_size=step_rows,
            dp_size=ranks.get("devices", 1),
            grad_accum=parts,
            rank=ranks.get("rank", 0),
            seed=seed,
            drop_last=False,
        )
        # Where the data loader looks for the sampler that it tells the epoch.
        self.sampler = self
        self.short = self.dp_size == 1 and 0 < self.remainder < parts

    def __len__(self) -> int:
        return super().__len__() - (self.grad_accum - self.remainder if self.short else 0)

    def __iter__(self) -> Iterator[list[int]]:
        batches = super().__iter__()
        if not self.short:
            yield from batches
            return
        seen: set[int] = set()
        for _ in range(len(self) - self.remainder):
            seen.update(batch := next(batches))
            yield batch
        last = {row for batch in batches for row in batch} - seen  # the others are repeated ones
        yield from ([row] for row in sorted(last, key=lambda row: -self.lengths[row]))


def find_fitting(
    options: Sequence[MicroBatches],
    recipe: Mapping[str, Any],
    lengths: Sequence[int],
    device: str,
    free_bytes: float,
    config: Any,
) -> list[MicroBatches]:
    """The options to try: the fastest that should fit, then ones that need less; one at least.

    Args:
        lengths: tokens of each row.
        free_bytes: of a GPU's memory, beside the model.
        config: the text model's transformers configuration.
    """
    steps = {option.parts: some_batches(option, recipe, lengths) for option in options}

    def need(option: MicroBatches) -> float:
        return max(steps[option.parts]) * activation_bytes(config, option.recompute)

    def cost(option: MicroBatches) -> float:
        # A forward and a backward pass, which takes twice as long, or a second forward one besides.
        tokens = sum(steps[option.parts]) + _OVERHEAD[device] * len(steps[option.parts])
        return tokens * (4 / 3 if option.recompute else 1)

    fastest = sorted(options, key=cost)
    if device == "cpu":
        return fastest[:1]  # where memory is no matter
    free = _USABLE * free_bytes - _LOSS_TOKENS * _LOSS_BYTES * config.vocab_size
    tried: list[MicroBatches] = []
    for option in fastest:
        if need(option) <= free and all(need(option) < need(earlier) for earlier in tried):
            tried.append(option)
    smallest = min(options, key=need)
    return tried if smallest in tried else [*tried, smallest]


def some_batches(
    option: MicroBatches, recipe: Mapping[str, Any], lengths: Sequence[int]
) -> list[int]:
    """Tokens of the micro batches of some steps, padding included, the longest row among them."""
    some = [max(lengths), *lengths[: _STEPS_SEEN * recipe["batch_size"] - 1]]
    rows = option.rows
    if rows is not None:
        batches = [
            range(start, min(start + rows, len(some))) for start in range(0, len(some), rows)
        ]
        return [rows * max(lengths), *(len(b) * max(some[row] for row in b) for b in batches)]
    parts = min(option.parts * recipe["gpus"], len(some))
    found = StepBatches(some, recipe["batch_size"], parts, seed=0)
    return [len(batch) * max(some[row] for row in batch) for batch in found]
