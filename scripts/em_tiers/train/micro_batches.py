"""Micro batches: in how many parts the rows of an optimiser step go through a device.

None of this changes what is learned: the loss of a step is the sum over its tokens, whatever parts
it is computed in. It decides speed, memory and which activations dropout drops, so a training may
go on with other parts.

Nothing here imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AUTO = "auto"


@dataclass(frozen=True)
class MicroBatches:
    """The parts of a step on each device, and whether activations are computed again for gradients.

    Attributes:
        parts: micro batches in a step.
        rows: of each; None where it depends on their lengths.
        recompute: gradient checkpointing.
    """

    parts: int
    rows: int | None
    recompute: bool

    def describe(self) -> str:
        """Such as "2 micro batches a step, activations kept"."""
        kept = "computed again for the gradient" if self.recompute else "kept"
        return f"{self.parts} micro batch{'es' * (self.parts > 1)} a step, activations {kept}"


def activation_bytes(config: Any, recompute: bool) -> float:
    """Bytes of bf16 activations that a token of a decoder-only transformer with LoRA leaves.

    Counted from the tensors that a block of the Llama and Qwen kind keeps for its gradient: two
    normalisations in fp32, the projections' inputs, rotated queries and keys, the gated layer.
    An estimate for others; a training that runs out of memory goes on with smaller micro batches.

    Args:
        config: the text model's transformers configuration.
        recompute: each block keeps its input alone, and one block at a time is computed again.
    """
    hidden, layers = config.hidden_size, config.num_hidden_layers
    heads = getattr(config, "num_attention_heads", None) or 1
    width = getattr(config, "head_dim", None) or hidden // heads
    queries, keys = heads * width, (getattr(config, "num_key_value_heads", None) or heads) * width
    inner = getattr(config, "intermediate_size", None) or 4 * hidden
    block = 28 * hidden + 24 * queries + 22 * keys + 8 * inner
    return layers * 2 * hidden + block if recompute else layers * block


def list_choices(recipe: Mapping[str, Any], device: str) -> list[MicroBatches]:
    """What the recipe allows, from the most memory to the least."""
    share = recipe["batch_size"] // recipe["gpus"]
    rows = recipe["micro_batch_size"]
    parts = [n for n in range(1, share + 1) if share % n == 0] if rows == AUTO else [share // rows]
    asked = recipe["gradient_checkpointing"]
    recomputed = [asked] if asked != AUTO else [False, True]
    if asked == AUTO and device == "cpu":
        recomputed = [False]  # memory is short on a GPU only
    return [
        MicroBatches(n, None if rows == AUTO else rows, again)
        for again in recomputed
        for n in parts
    ]
