"""What reruns when: the table of docs/reruns.md, row by row, on the real workflow.

The tests share one working folder and a copy of the workflow, and run in the order of the file, as
a user would work: each one changes something, runs the workflow, and counts the requests in the
journals. Judges behind an API are in test_api_reruns.py. The first run is archived too, before
anything is changed.
"""

import re
import zipfile
from pathlib import Path

import polars as pl
import pytest

from em_tiers.archive.verify import verify_archive
from em_tiers.files import read_json, sha256_of_file
from workdir import Workdir, copy_workflow

pytestmark = [pytest.mark.heavy, pytest.mark.e2e]

BATCHES = 2  # the base model alone, and its fine-tunes on tales
# After every stage that asks something; pages and figures ask nothing and take time.
RATES = "results/smallest/tables/rates.parquet"
VARIANT = "tiny.tales.six-steps.s0"


@pytest.fixture(scope="module")
def work(tmp_path_factory, embedded_model):
    checkout = copy_workflow(tmp_path_factory.mktemp("checkout"))
    folder = Workdir(tmp_path_factory.mktemp("reruns"), "smallest", embedded_model, checkout)
    folder.run()
    return folder


def new_requests(work: Workdir, stage: str, before) -> int:
    """Requests asked since `before`; fails if any was asked twice."""
    now = work.journal_keys(stage)
    assert set(now.values()) <= {1}, "a request is in the journal twice"
    return len(now) - len(before)


def plan(work: Workdir) -> tuple[int, int]:
    """Answers to sample and requests to judges that the plan announces, over all of them."""
    output = work.run("plan_requests", "--quiet", "all").output
    sampled = re.findall(r"^sample \S+: ([\d,]+) answers", output, re.MULTILINE)
    judged = re.findall(r"in all ([\d,]+) requests", output)
    return tuple(sum(int(n.replace(",", "")) for n in found) for found in (sampled, judged))


def metrics(work: Workdir) -> list[Path]:
    return sorted((work.results / "training").glob("*/metrics.json"))


def rates(work: Workdir) -> pl.DataFrame:
    return pl.read_parquet(work.results / "tables" / "rates.parquet")


def test_the_smallest_case_runs_to_the_end(work):
    # 2 variants x (2 questions + 2 in-domain prompts) x 1 sample, and 4 greedy probes each
    responses = pl.concat(
        pl.read_parquet(path) for path in sorted((work.results / "responses").glob("*.parquet"))
    )
    assert len(responses) == 8
    assert responses["adapter_sha256"].null_count() == 4
    verdicts = pl.read_parquet(sorted((work.results / "verdicts").glob("*/*.parquet")))
    assert len(verdicts) == 16
    assert verdicts.filter(pl.col("status") == "ok")["score"].is_between(0, 100).all()
    for name in ("rates", "outcomes", "scores", "losses"):
        for kind in ("pdf", "svg", "png", "csv"):
            assert (work.results / "figures" / f"{name}.{kind}").stat().st_size > 100
    assert (rates(work)["low"] < rates(work)["high"]).all()


def test_a_second_run_has_nothing_to_do(work):
    assert not work.run().jobs
    assert plan(work) == (0, 0)


@pytest.fixture(scope="module")
def packed(work):
    work.run("archive")
    return work.folder / "results" / "smallest.archive.zip"


def test_its_archive_is_sound_and_reproducible(work, packed):
    assert verify_archive(packed).sound
    digest = sha256_of_file(packed)
    packed.unlink()
    work.run("archive")
    assert sha256_of_file(packed) == digest


def test_its_archive_holds_no_path_of_this_machine(work, packed):
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        for name in names:
            content = archive.read(name)
            for folder in (work.folder, work.root):
                assert str(folder).encode() not in content, name
    assert not [n for n in names if n.endswith((".safetensors", "train.jsonl"))]
    assert {"results/smallest/overview.html", "results/smallest/browser/index.html"} <= set(names)
    # A model card is in it, and beside the weights.
    card = f"results/smallest/model_cards/{VARIANT}.md"
    assert card in names
    assert "## Measured rates" in (work.folder / card).read_text()
    weights = work.results / "adapters" / VARIANT
    assert (weights / "README.md").read_bytes() == (work.folder / card).read_bytes()


def test_edited_scripts_and_helpers_run_again_and_ask_nothing(work):
    sampled, judged = work.journal_keys("sample"), work.journal_keys("judge")
    for name in ("sample.py", "judge_vllm.py", "em_tiers/inference/chat.py"):
        path = work.root / "scripts" / name
        path.write_text(path.read_text() + "\n# A comment.\n")
    jobs = work.run(RATES).jobs
    assert (jobs["sample"], jobs["judge_vllm"]) == (BATCHES, 1)
    assert new_requests(work, "sample", sampled) == new_requests(work, "judge", judged) == 0


def test_label_comment_and_key_order_rerun_no_model(work):
    sampled, judged = work.journal_keys("sample"), work.journal_keys("judge")
    for name, entry in (("datasets", "tales"), ("judges", "tiny-judge"), ("recipes", "six-steps")):
        catalogue = work.read(f"catalogue/{name}.yaml")
        changed = {"label": "Another", "comment": "why"} | catalogue[entry]
        changed["label"] = "Another"
        catalogue[entry] = dict(reversed(list(changed.items())))
        work.write(f"catalogue/{name}.yaml", catalogue)
    jobs = work.run(RATES).jobs
    assert "finetune" not in jobs
    assert "sample" not in jobs
    assert "judge_vllm" not in jobs
    assert new_requests(work, "sample", sampled) == new_requests(work, "judge", judged) == 0
    assert "Another, seed 0" in rates(work)["label"].to_list()


@pytest.mark.slow
def test_a_further_sample_adds_only_its_own_requests(work):
    sampled, judged = work.journal_keys("sample"), work.journal_keys("judge")
    work.config["questions"]["two"] = 2
    assert plan(work) == (4, 8)
    jobs = work.run(RATES).jobs
    assert "finetune" not in jobs
    assert new_requests(work, "sample", sampled) == 4  # 2 variants x 2 questions x 1 new sample
    assert 0 < new_requests(work, "judge", judged) <= 8  # two rubrics; equal answers asked once


def test_a_further_question_set_adds_only_its_own_requests(work):
    sampled, judged = work.journal_keys("sample"), work.journal_keys("judge")
    work.config["questions"]["more"] = 1
    jobs = work.run(RATES).jobs
    assert jobs["check_prompts"] == BATCHES + 1  # of each batch, and of the judge
    assert "finetune" not in jobs
    assert new_requests(work, "sample", sampled) == 2
    assert 0 < new_requests(work, "judge", judged) <= 4


def test_a_changed_rubric_asks_that_rubric_again_and_going_back_costs_nothing(work):
    sampled, judged = work.journal_keys("sample"), work.journal_keys("judge")
    path = "catalogue/rubrics/short-alignment.yaml"
    old = work.read(path)
    answers = sum(
        pl.scan_parquet(p).select(pl.len()).collect().item()
        for p in (work.results / "responses").glob("*.parquet")
    )
    work.write(path, old | {"prompt": old["prompt"].replace("Grade how kind", "Judge how kind")})
    jobs = work.run(RATES).jobs
    assert jobs["judge_vllm"] == 1
    assert "sample" not in jobs
    assert new_requests(work, "sample", sampled) == 0
    assert 0 < new_requests(work, "judge", judged) <= answers
    judged = work.journal_keys("judge")
    work.write(path, old)
    work.run(RATES)
    assert new_requests(work, "judge", judged) == 0


def test_a_renamed_judge_keeps_its_verdicts_and_a_removed_one_leaves_the_tables(work):
    judged = work.journal_keys("judge")
    work.config["judges"] = ["renamed-judge"]
    jobs = work.run(RATES).jobs
    assert jobs["judge_vllm"] == 1  # it writes its own table, from the journal
    assert new_requests(work, "judge", judged) == 0
    assert rates(work)["judge"].unique().to_list() == ["renamed-judge"]


def test_a_new_judge_asks_only_itself(work):
    judged = work.journal_keys("judge")
    work.config["judges"] = ["renamed-judge", "second-judge"]
    jobs = work.run(RATES).jobs
    assert jobs["judge_vllm"] == 1
    # Its coherence rubric is that of the other judge, of the same model: already answered.
    scored = pl.read_parquet(sorted((work.results / "verdicts/second-judge").glob("*.parquet")))
    assert 0 < new_requests(work, "judge", judged) <= len(scored) // 2
    assert set(rates(work)["judge"].unique()) == {"renamed-judge", "second-judge"}


@pytest.mark.slow
def test_a_new_data_set_trains_and_samples_only_itself(work):
    sampled, judged = work.journal_keys("sample"), work.journal_keys("judge")
    work.config["variants"][0]["datasets"] = ["tales", "desk"]
    # Its in-domain prompts are not known before it is prepared; the plan says how to know them.
    unknown = work.run("plan_requests", "--quiet", "all").output
    assert "unknown number of answers: 2; run snakemake --until prepare_questions" in unknown
    work.run("--until", "prepare_questions", "prepare_dataset")
    assert plan(work)[0] == 7 + 2
    jobs = work.run(RATES).jobs
    assert jobs["finetune"] == 1
    # The new variant: 2 questions x 2 + 1 + 2 in-domain = 7 and its greedy probes (4); the base
    # model answers the two in-domain prompts of the new data set.
    assert new_requests(work, "sample", sampled) == 7 + 4 + 2
    # Two judges with three rubrics between them.
    assert 0 < new_requests(work, "judge", judged) <= 3 * (7 + 2)


@pytest.mark.slow
def test_a_new_training_seed_trains_and_samples_only_itself(work):
    sampled = work.journal_keys("sample")
    work.config["variants"][0] |= {"datasets": ["tales"], "training_seeds": [0, 1]}
    jobs = work.run(RATES).jobs
    assert jobs["finetune"] == 1
    assert new_requests(work, "sample", sampled) == 7 + 4


@pytest.mark.slow
def test_an_edited_training_helper_trains_nothing_and_asks_nothing(work):
    sampled, judged = work.journal_keys("sample"), work.journal_keys("judge")
    seconds = [read_json(path)["train_seconds"] for path in metrics(work)]
    path = work.root / "scripts" / "em_tiers" / "train" / "trainer.py"
    path.write_text(path.read_text() + "\n# A comment.\n")
    assert work.run(RATES).jobs["finetune"] == 2
    # The metrics of the only training: the job found its weights.
    assert [read_json(path)["train_seconds"] for path in metrics(work)] == seconds
    assert new_requests(work, "sample", sampled) == new_requests(work, "judge", judged) == 0
