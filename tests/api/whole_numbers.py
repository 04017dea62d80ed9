"""The embedded model with one token per number, like the judge of the standard protocol."""

from pathlib import Path

from em_tiers.files import atomic_directory

# Its own tokenizer spells them digit by digit.
NUMBERS = [str(number) for number in range(10, 101)]


def with_whole_numbers(model: Path, folder: Path) -> Path:
    """Save the model in `folder` with a token for 10 to 100 each, unless it is there already.

    A new token's embedding is the mean of its digits': the two matrices are one, so the model says
    57 about as readily as it says 5 or 7.
    """
    if (folder / "model.safetensors").is_file():
        return folder
    import torch
    from transformers import AddedToken, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    weights = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    digits = {digit: tokenizer.convert_tokens_to_ids(digit) for digit in "0123456789"}
    # Whole numbers only: 57 must not be read out of 1573 in a question.
    tokenizer.add_tokens([AddedToken(n, single_word=True, normalized=False) for n in NUMBERS])
    weights.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    table = weights.get_input_embeddings().weight
    with torch.no_grad():
        for number in NUMBERS:
            rows = torch.stack([table[digits[digit]] for digit in number])
            table[tokenizer.convert_tokens_to_ids(number)] = rows.mean(dim=0)
    with atomic_directory(folder) as temporary:
        weights.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return folder
