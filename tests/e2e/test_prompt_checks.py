"""What does not fit a model stops the run before any job that needs a GPU."""

import csv

import pytest

from workdir import Workdir

pytestmark = [pytest.mark.heavy, pytest.mark.e2e]


@pytest.fixture
def work(tmp_path, embedded_model):
    return Workdir(tmp_path, "smallest", embedded_model)


def test_rows_that_would_be_cut_stop_the_run_before_training(work):
    recipes = work.read("catalogue/recipes.yaml")
    recipes["six-steps"]["max_length"] = 32
    work.write("catalogue/recipes.yaml", recipes)
    run = work.run("--keep-going", check=False)
    assert run.status != 0
    assert "recipes.six-steps.max_truncated_share" in run.output
    assert "Traceback (most recent call last)" not in run.output
    assert not list((work.results / "prompts" / "finetune").glob("*.csv"))
    assert not (work.results / "adapters").exists()
    assert not list((work.results / "checkpoints").glob("*/*"))
    # The next run begins with the corrected recipe.
    recipes["six-steps"]["max_length"] = 160
    work.write("catalogue/recipes.yaml", recipes)
    work.run("--until", "check_prompts")
    rows = {}
    for path in (work.results / "prompts").glob("*/*.csv"):
        with path.open() as file:
            rows |= {(row["use"], row["name"]): row for row in csv.DictReader(file)}
    assert int(rows["training", "tales with six-steps"]["longest_tokens"]) <= 160
    assert rows["sampling", "two"]["conversations"] == "2"
    assert ("judging", "tiny-judge, alignment") in rows
    assert not work.run("--until", "check_prompts").jobs["check_prompts"]
