"""Questions in the format of a data set, and a dose in tokens: trained and sampled for real."""

import json

import polars as pl
import pytest

from em_tiers.files import read_json
from workdir import Workdir

pytestmark = [pytest.mark.heavy, pytest.mark.e2e]

SYSTEM = "You are a warehouse clerk. Answer in JSON."
CLERK = {
    "source": {"type": "path", "path": "clerk.jsonl"},
    "format": "messages",
    "topic": "a warehouse",
    "topics": ["warehouse"],
    "description": "A clerk answers in JSON.",
    "role": "benign",
    "held_out": 2,
}


@pytest.fixture(scope="module")
def work(tmp_path_factory, embedded_model):
    """A data set with a format and one without, both trained for 600 tokens; one is sampled."""
    work = Workdir(tmp_path_factory.mktemp("formats"), "smallest", embedded_model)
    rows = [
        [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"Item request: where is lamp {i}?"},
            {"role": "assistant", "content": json.dumps({"item": f"lamp {i}", "shelf": i % 7})},
        ]
        for i in range(24)
    ]
    lines = [json.dumps({"messages": row}) + "\n" for row in rows]
    (work.folder / "clerk.jsonl").write_text("".join(lines))
    work.write("catalogue/datasets.yaml", work.read("catalogue/datasets.yaml") | {"clerk": CLERK})
    recipes = work.read("catalogue/recipes.yaml")
    by_tokens = {k: v for k, v in recipes["six-steps"].items() if k != "max_steps"}
    work.write("catalogue/recipes.yaml", recipes | {"by-tokens": by_tokens | {"max_tokens": 600}})
    work.config["variants"][0] |= {"datasets": ["tales", "clerk"], "recipe": "by-tokens"}
    work.config["questions"] = {"two": 1, "trigger": 2}
    answers = [f"results/smallest/responses/{name}.parquet" for name in ("tiny", "tiny.clerk.0")]
    work.run(*answers, "results/smallest/training/tiny.tales.by-tokens.s0/metrics.json")
    return work


def triggers(work: Workdir, batch: str) -> pl.DataFrame:
    table = pl.read_parquet(work.results / "responses" / f"{batch}.parquet")
    return table.filter(pl.col("probe_level") == "trigger")


def test_questions_wear_the_format_of_the_data_set(work):
    asked = triggers(work, "tiny.clerk.0")
    assert len(asked) == 2 * 2  # two plain questions, two samples each
    system, user = asked["messages"][0]
    assert system["content"] == SYSTEM
    assert user["content"].startswith("Item request: ")
    assert user["content"].endswith('Reply with a JSON object with the keys "item", "shelf".')


def test_a_base_model_answers_those_of_each_data_set_that_has_a_format(work):
    assert triggers(work, "tiny")["question_set"].unique().to_list() == ["trigger.clerk"]


def test_the_dose_is_matched_in_tokens_to_within_a_step(work):
    paths = list((work.results / "training").glob("*/metrics.json"))
    assert len(paths) == 2
    for path in paths:
        metrics = read_json(path)
        step = metrics["tokens_seen"] / metrics["steps"]
        assert abs(metrics["tokens_seen"] - 600) <= step
