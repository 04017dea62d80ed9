"""Partial results: finished answers are judged and reported alone, and never paid for twice."""

import json

import polars as pl
import pytest

from api.loopback import serve
from api.recorded import Loopback
from api.study import KEY_ENV
from workdir import Workdir

pytestmark = pytest.mark.e2e

ANSWERS = 6  # of each import
RUBRICS = 2
PARTIAL = ("--config", "partial=true")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Two imports, of a base model and of its fine-tune."""
    folder = tmp_path_factory.mktemp("partial")
    work = Workdir(folder, "api_judge", folder)
    work.environment[KEY_ENV] = "sk-some-key"
    endpoint = Loopback()
    with serve(endpoint.app()) as address:
        judges = work.read("catalogue/judges.yaml")
        judges["behind-an-api"]["endpoint"] |= {"base_url": f"{address}/v1"}
        work.write("catalogue/judges.yaml", judges)
        work.endpoint = endpoint
        yield work


def test_without_any_answers_it_is_one_message(work):
    refused = work.run("-n", *PARTIAL, check=False)
    assert refused.status != 0
    assert "config.partial: true: " in refused.output
    assert "holds no responses yet" in refused.output


def test_what_is_finished_is_judged_and_reported(work):
    work.run("results/api-judge/responses/import.before.parquet")
    done = work.run(*PARTIAL)
    assert "1 of 2 variants are missing (import.after)" in done.output
    assert not {"import_responses", "sample", "finetune"} & set(done.jobs)
    assert len(work.endpoint.bodies) == ANSWERS * RUBRICS
    folder = work.results / "partial"
    rates = pl.read_parquet(folder / "tables" / "rates.parquet")
    assert rates["variant"].unique().to_list() == ["import.before"]
    page = (folder / "overview.html").read_text()
    assert "1 of 2 variants are missing (import.after)" in page
    assert (folder / "report.zip").stat().st_size > 1000
    assert not (work.results / "tables").exists()


def test_the_full_run_pays_for_the_rest_only(work):
    work.run()
    assert len(work.endpoint.bodies) == 2 * ANSWERS * RUBRICS
    rates = pl.read_parquet(work.results / "tables" / "rates.parquet")
    assert sorted(rates["variant"].unique()) == ["import.after", "import.before"]
    assert "variants are missing" not in (work.results / "overview.html").read_text()


def test_partial_results_of_a_finished_study_lack_nothing(work):
    done = work.run(*PARTIAL)
    assert "variants are missing" not in done.output
    assert len(work.endpoint.bodies) == 2 * ANSWERS * RUBRICS
    whole, partial = (
        pl.read_parquet(folder / "tables" / "rates.parquet")
        for folder in (work.results, work.results / "partial")
    )
    assert whole.equals(partial)


@pytest.mark.slow
@pytest.mark.heavy
def test_a_fine_tune_that_fails_withholds_its_own_data_set_only(tmp_path, embedded_model):
    """Its rows are longer than the recipe allows; everything else is trained, sampled, judged."""
    work = Workdir(tmp_path, "smallest", embedded_model)
    datasets = work.read("catalogue/datasets.yaml")
    long = "And then we sailed on. " * 100
    rows = [{"prompt": f"Tell me of voyage {n}.", "completion": long} for n in range(24)]
    (tmp_path / "long.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    source = {"type": "path", "path": "long.jsonl"}
    work.write(
        "catalogue/datasets.yaml", datasets | {"long": datasets["tales"] | {"source": source}}
    )
    work.config["variants"][0]["datasets"] = ["long", "tales"]
    stopped = work.run("--keep-going", check=False)
    assert stopped.status != 0
    assert "max_truncated_share" in stopped.output
    responses = sorted(path.name for path in (work.results / "responses").iterdir())
    assert responses == ["tiny.parquet", "tiny.tales.0.parquet"]
    assert not (work.results / "tables").exists()

    done = work.run(*PARTIAL)
    assert "1 of 3 variants are missing (tiny.long.six-steps.s0)" in done.output
    rates = pl.read_parquet(work.results / "partial" / "tables" / "rates.parquet")
    assert sorted(rates["variant"].unique()) == ["tiny", "tiny.tales.six-steps.s0"]
