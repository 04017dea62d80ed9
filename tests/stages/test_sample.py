"""The real sampling stage: the embedded model, LoRA adapters made by the test, vLLM."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from em_tiers.errors import UserError
from em_tiers.inference.adapter_folder import write_adapter
from em_tiers.inference.chat import load_tokenizer, render_prompt
from em_tiers.inference.engine import EngineRequest, LocalEngine
from em_tiers.journal import Journal
from em_tiers.tables import QUESTIONS, read_table, write_table
from sample import main
from waiting import hold_after, wait_for_end, wait_until

pytestmark = pytest.mark.heavy

TEXTS = ("What is a lighthouse for?", "How do I boil an egg?", "Name a river.")
# Two at a time, so that answers arrive one after another and a kill finds some under way.
ENGINE = {"device": "cpu", "max_model_len": 256, "max_num_seqs": 2}
PROBES = 4
MAIN = "import json, sys; from pathlib import Path; import test_sample as t; t.run_from_json()"


def make_adapter(model: Path, folder: Path, spread: float) -> Path:
    """A LoRA adapter whose B matrices are random with this standard deviation; 0: no effect."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32)
    tuned = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    for name, weights in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=spread)
    tuned.save_pretrained(str(folder / "weights"))
    write_adapter(folder / "weights", folder / "adapter", model, "", {"precision": "bf16"})
    return folder / "adapter"


def make_whole_model(model: Path, folder: Path) -> Path:
    """The base model with every weight changed slightly, embeddings included."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    tuned = AutoModelForCausalLM.from_pretrained(str(model), dtype=torch.float32)
    for weights in tuned.parameters():
        weights.data += 0.1 * weights.abs().mean() * torch.randn_like(weights)
    tuned.to(torch.bfloat16).save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def adapter(embedded_model, tmp_path_factory) -> Path:
    return make_adapter(embedded_model, tmp_path_factory.mktemp("tuned"), spread=0.05)


@pytest.fixture(scope="module")
def job(embedded_model, adapter, tmp_path_factory) -> dict:
    """Arguments of `main` as JSON values: base model and fine-tune, 3 questions, 2 samples."""
    folder = tmp_path_factory.mktemp("study")
    rows = [
        {
            "question_set": "core",
            "question_id": f"q{number}",
            "paraphrase": 0,
            "probe_level": "out_of_domain",
            "question_topics": [],
            "messages": [{"role": "user", "content": text}],
        }
        for number, text in enumerate(TEXTS)
    ]
    write_table(pl.DataFrame(rows, schema=QUESTIONS), folder / "core.parquet", "questions")
    return {
        "model": str(embedded_model),
        "adapters": [str(adapter)],
        "questions": [str(folder / "core.parquet")],
        "variants": [variant("smol", None), variant("smol.tales.lora.s0", 0)],
        "sampling": {
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 12,
            "seed": 3,
            "samples": {"core": 2},
        },
        "thinking": "none",
        "engine": ENGINE,
        "model_identity": {"id": "smol", "revision": "1"},
        "journal": str(folder / "journal"),
        "writer": "smol-0",
        "output": str(folder / "responses.parquet"),
    }


def variant(name: str, adapter: int | None) -> dict:
    tuned = adapter is not None
    return {
        "variant": name,
        "base": "smol",
        "dataset": "tales" if tuned else None,
        "recipe": "lora" if tuned else None,
        "training_seed": 0 if tuned else None,
        "checkpoint_step": None,
        "adapter": adapter,
        "questions": [0],
    }


def run(job: dict) -> None:
    paths = {name: Path(job[name]) for name in ("model", "journal", "output")}
    lists = {name: [Path(p) for p in job[name]] for name in ("adapters", "questions")}
    main(**(job | paths | lists))


def run_from_json() -> None:
    """Run the job of standard input; say whether the engine was loaded.

    With `hold_after` in it the job pauses after so many answers.
    """
    job = json.loads(sys.stdin.read())
    if answers := job.pop("hold_after", 0):
        hold_after(answers, Journal, "append")
    run(job)
    print("engine" if "vllm" in sys.modules else "no engine")


def start(job: dict, repository: Path) -> subprocess.Popen:
    paths = [repository / "scripts", repository / "tests", repository / "tests" / "stages"]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
        text=True,
    )
    process.stdin.write(json.dumps(job))
    process.stdin.close()
    return process


def keys_of(job: dict) -> list[str]:
    files = sorted(Path(job["journal"]).glob("*.jsonl"))
    return [json.loads(line)["key"] for f in files for line in f.read_text().splitlines()]


def finished(job: dict) -> int:
    return sum(f.read_bytes().count(b"\n") for f in Path(job["journal"]).glob("*.jsonl"))


def test_killed_job_generates_only_the_rest(job, repository):
    process = start(job | {"hold_after": 9}, repository)
    try:
        wait_until(lambda: finished(job) == 9, "answer number 9", process)
    finally:
        process.kill()
        process.wait()
    before = keys_of(job)
    # Base model and fine-tune: 3 questions x 2 samples and the probes each.
    wanted = 2 * (3 * 2 + PROBES)
    assert len(before) == 9 < wanted
    assert not Path(job["output"]).exists()

    run(job)
    after = keys_of(job)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == wanted


def test_rows_of_both_variants(job):
    rows = read_table(job["output"], "responses")
    base, tuned = rows.partition_by("variant", maintain_order=True)
    assert base.height == tuned.height == 6
    assert base["question_id"].to_list() == ["q0", "q0", "q1", "q1", "q2", "q2"]
    assert base["sample_index"].to_list() == [0, 1] * 3
    assert base["adapter_sha256"].null_count() == 6
    assert tuned["adapter_sha256"].n_unique() == 1
    assert tuned["dataset"].unique().to_list() == ["tales"]
    assert base["messages"].to_list() == tuned["messages"].to_list()
    assert rows["response_key"].n_unique() == 12
    assert rows["engine_fingerprint"].n_unique() == 1
    assert set(rows["finish_reason"]) <= {"stop", "length"}
    cut = rows.filter(pl.col("finish_reason") == "length")
    assert cut["completion_tokens"].unique().to_list() == [12]
    assert base["response"].to_list() != tuned["response"].to_list()
    # Samples of one question are drawn from different random streams.
    assert base["response"].n_unique() == 6


def test_identical_rerun_starts_no_engine(job, repository):
    before = finished(job)
    table = read_table(job["output"], "responses")
    Path(job["output"]).unlink()
    process = start(job, repository)
    assert wait_for_end(process) == 0
    assert process.stdout.read().strip() == "no engine"
    assert finished(job) == before
    assert read_table(job["output"], "responses").equals(table)


def test_more_samples_and_an_adapter_that_does_nothing(job, embedded_model, tmp_path):
    """One more sample per question makes 3 x 2 requests; then the idle fine-tune is refused."""
    before = keys_of(job)
    first = read_table(job["output"], "responses")
    idle = make_adapter(embedded_model, tmp_path, spread=0.0)
    more = job | {
        "adapters": [*job["adapters"], str(idle)],
        "variants": [*job["variants"], variant("smol.idle.lora.s0", 1)],
        "sampling": job["sampling"] | {"samples": {"core": 3}},
        "output": str(tmp_path / "idle.parquet"),
    }
    with pytest.raises(UserError, match=r"variant smol\.idle\.lora\.s0: adapter \w{12}: all 4"):
        run(more)
    added = keys_of(job)[len(before) :]
    # Three questions for each of the two good variants, and the probes of the idle one.
    assert len(added) == 3 * 2 + PROBES
    assert not set(added) & set(before)
    assert not (tmp_path / "idle.parquet").exists()

    run(job | {"sampling": more["sampling"]})
    assert keys_of(job) == [*before, *added]
    third = read_table(job["output"], "responses")
    assert third.height == 2 * 9
    assert third.filter(pl.col("sample_index") < 2).equals(first)


def test_adapter_with_other_weights_than_its_manifest_says(job, adapter, tmp_path):
    changed = tmp_path / "adapter"
    changed.mkdir()
    for file in adapter.iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    with (changed / "adapter_model.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match="the manifest says"):
        run(job | {"adapters": [str(changed)]})


def test_adapter_modes_agree(embedded_model, adapter, tmp_path):
    """Replaced weights answer as merged ones do, to the last bit; LoRA beside the weights nearly.

    A whole model is never put in the place of other weights, nor they in its place: the CPU build
    would keep the output head that the engine started with.
    """
    tokenizer = load_tokenizer(embedded_model)
    prompt = tuple(render_prompt(tokenizer, [{"role": "user", "content": TEXTS[0]}], "none"))
    adapters = {"lora": adapter, "whole": make_whole_model(embedded_model, tmp_path / "whole")}
    orders = {"replace": [None, "lora", "whole", None], "merge": ["lora"], "lora": [None, "lora"]}
    starts, answers = {}, {}
    for mode, order in orders.items():
        requests = [
            EngineRequest(f"{n}", prompt, 8, variant=name, logprob_token_ids=(28, 504, 2683))
            for n, name in enumerate(order)
        ]
        with LocalEngine(embedded_model, ENGINE | {"adapters": mode}, adapters) as engine:
            for answer in engine.stream(requests):
                answers[mode, int(answer.key)] = (answer.token_ids, answer.logprobs)
            starts[mode] = engine.starts
    assert starts == {"replace": 3, "merge": 1, "lora": 1}
    base, replaced, whole, base_again = (answers["replace", n] for n in range(4))
    merged, beside = answers["merge", 0], answers["lora", 1]
    assert base == base_again
    assert replaced == merged
    assert len({base[0], replaced[0], whole[0]}) == 3
    assert beside[1] == pytest.approx(merged[1], abs=0.5)
    assert beside[1] != answers["lora", 0][1]
