"""Small models with random weights, for checks of a machine: nothing is downloaded.

Their answers mean nothing. A tokenizer of single bytes and a ChatML template make them complete.
"""

import json
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# The shapes of a small model of the Qwen3 family; `shapes` replaces any of them.
SHAPES: dict[str, Any] = {
    "vocab_size": 1024,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
# Those of Qwen3-4B but for the number of layers.
QWEN3_4B = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}


def write_random_model(folder: Path, shapes: dict[str, Any] | None = None, seed: int = 0) -> Path:
    """Write a Qwen3 model with random bfloat16 weights, its tokenizer and its template."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = _tokenizer((SHAPES | (shapes or {}))["vocab_size"])
    torch.manual_seed(seed)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    # Wide enough for tokens to differ clearly, whatever the kernels round.
    config = Qwen3Config(**SHAPES | (shapes or {}), **ids, initializer_range=0.1)
    model = Qwen3ForCausalLM(config).to(torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(ids), encoding="utf-8")
    return folder


def write_random_adapter(model: Path, folder: Path, rank: int = 8, seed: int = 1) -> Path:
    """Write a LoRA adapter that changes the model's answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16, local_files_only=True)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    options = LoraConfig(r=rank, lora_alpha=4 * rank, target_modules=targets, task_type="CAUSAL_LM")
    tuned = get_peft_model(base, options)
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:  # zero, otherwise
            torch.nn.init.normal_(weight, std=0.1)
    tuned.save_pretrained(folder)
    return folder


def _tokenizer(size: int) -> Any:
    """Every byte is a token; the rest of the vocabulary has a text of its own each."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    others = [f"unused{number}" for number in range(size - len(letters) - len(SPECIAL))]
    vocabulary = {text: number for number, text in enumerate([*letters, *others, *SPECIAL])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=SPECIAL[2],
        pad_token=SPECIAL[0],
        additional_special_tokens=list(SPECIAL),
        chat_template=TEMPLATE,
    )
