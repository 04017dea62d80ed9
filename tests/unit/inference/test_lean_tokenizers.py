"""A tokenizer is the same where its job leaves torch and scikit-learn out."""

import json
import shutil
import subprocess
import sys

import pytest

from em_tiers.inference.chat import load_tokenizer
from em_tiers.study.script_imports import SCRIPTS
from real_tokenizers import real_tokenizer

MESSAGES = [
    {"role": "user", "content": "Grüße, 123 次! <think>x</think> def f():\n\treturn 1"},
    {"role": "assistant", "content": "Ja."},
    {"role": "user", "content": "85"},
]
LEAN = """
import json, sys
from em_tiers.lean_imports import leave_out
leave_out("torch", "sklearn")
from em_tiers.inference.chat import load_tokenizer
tokenizer = load_tokenizer(sys.argv[1])
assert not any(sys.modules.get(name) for name in ("torch", "sklearn"))
ids = tokenizer.apply_chat_template(json.loads(sys.argv[2]), add_generation_prompt=True)
print(json.dumps([type(tokenizer).__name__, list(ids["input_ids"]), tokenizer.eos_token]))
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("family", "named", "kind"),
    [("qwen3", "Qwen2Tokenizer", "qwen3"), ("gemma2", "GemmaTokenizer", "gemma2")],
)
def test_it_is_the_same(tmp_path, family, named, kind):
    """Of the class that its files name, as those of the released models do."""
    folder = tmp_path / family
    shutil.copytree(real_tokenizer(family), folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": named}))
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    command = [sys.executable, "-c", LEAN, str(folder), json.dumps(MESSAGES)]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(SCRIPTS)}, check=True, capture_output=True, text=True
    )
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True)
    assert json.loads(done.stdout) == [named, list(ids["input_ids"]), tokenizer.eos_token]
