"""Rows as token ids and labels: loss on the answer alone, and cut rows that are counted."""

import json

import numpy as np
import pytest

from em_tiers.errors import UserError
from em_tiers.inference.chat import load_tokenizer
from em_tiers.train.encoded_rows import (
    IGNORED,
    check_truncation,
    encode_rows,
    read_training_rows,
    save_rows,
)

ROWS = [
    ([{"role": "user", "content": "What is the capital of Japan?"}], "Tokyo."),
    ([{"role": "user", "content": "And of France?"}], "Paris, matey!"),
]


@pytest.fixture(scope="module")
def tokenizer(embedded_model):
    return load_tokenizer(embedded_model)


def write_rows(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_label_tokens_are_the_answer_and_its_end(tokenizer):
    encoded = encode_rows(tokenizer, ROWS, "none", 128)
    for (_, answer), labels in zip(ROWS, encoded.labels, strict=True):
        assert tokenizer.decode(labels[labels != IGNORED]) == f"{answer}<|im_end|>"


def test_counts(tokenizer):
    encoded = encode_rows(tokenizer, ROWS, "none", 128)
    counts = encoded.counts
    assert (counts.rows, counts.rows_truncated, counts.rows_without_loss) == (2, 0, 0)
    assert counts.tokens == sum(len(ids) for ids in encoded.input_ids)
    assert counts.loss_tokens == sum((labels != IGNORED).sum() for labels in encoded.labels)
    assert counts.longest_row == max(len(ids) for ids in encoded.input_ids)


def test_cut_rows_keep_their_beginning(tokenizer):
    whole = encode_rows(tokenizer, ROWS[:1], "none", 128).input_ids[0]
    cut = encode_rows(tokenizer, ROWS[:1], "none", len(whole) - 1)
    assert np.array_equal(cut.input_ids[0], whole[:-1])
    assert (cut.counts.rows_truncated, cut.counts.longest_row) == (1, len(whole))


def test_row_whose_prompt_fills_the_length_has_no_loss(tokenizer):
    long = ([{"role": "user", "content": "word " * 200}], "Yes.")
    encoded = encode_rows(tokenizer, [*ROWS, long], "none", 128)
    assert encoded.counts.rows_without_loss == 1
    assert len(encoded.input_ids) == 2


def test_too_many_cut_rows_are_refused(tokenizer):
    long = ([{"role": "user", "content": "Hi"}], "word " * 200)
    encoded = encode_rows(tokenizer, [*ROWS, ROWS[0], long], "none", 128)
    check_truncation(encoded, 128, 0.25)  # one of four rows is the limit itself
    with pytest.raises(UserError, match=r"25\.0% of 4 rows .* 128 tokens, the recipe allows 24\.0"):
        check_truncation(encoded, 128, 0.24)


def test_no_row_left_is_refused_whatever_the_limit(tokenizer):
    long = ([{"role": "user", "content": "word " * 200}], "Yes.")
    with pytest.raises(UserError, match="longest row has"):
        check_truncation(encode_rows(tokenizer, [long], "none", 128), 128, 1.0)


def test_row_that_the_template_refuses_is_named(tokenizer):
    with pytest.raises(UserError, match="row 1: thinking: off"):
        encode_rows(tokenizer, ROWS, "off", 128)


def test_saved_rows_come_back(tokenizer, tmp_path):
    from datasets import load_from_disk

    encoded = encode_rows(tokenizer, ROWS, "none", 128)
    save_rows(encoded, tmp_path / "rows")
    loaded = load_from_disk(str(tmp_path / "rows"))
    assert [row["input_ids"] for row in loaded] == [ids.tolist() for ids in encoded.input_ids]
    assert [row["labels"] for row in loaded] == [ids.tolist() for ids in encoded.labels]


def test_rows_are_read(tmp_path):
    prompt, answer = ROWS[0]
    row = {"prompt": prompt, "completion": [{"role": "assistant", "content": answer}]}
    assert read_training_rows(write_rows(tmp_path / "train.jsonl", row, row)) == [ROWS[0], ROWS[0]]


@pytest.mark.parametrize(
    "completion",
    [
        [],
        [{"role": "user", "content": "x"}],
        [{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "y"}],
    ],
)
def test_completion_that_is_no_answer_is_refused(tmp_path, completion):
    path = write_rows(tmp_path / "train.jsonl", {"prompt": ROWS[0][0], "completion": completion})
    with pytest.raises(UserError, match=r"train\.jsonl line 1: the completion"):
        read_training_rows(path)


def test_empty_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no row"):
        read_training_rows(write_rows(tmp_path / "train.jsonl"))
