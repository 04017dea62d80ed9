"""An adapter and a merged model of a user, through the whole workflow, beside their trained twin.

The adapter that the smallest case trains is copied elsewhere and brought: no training job runs, and
answers and tables are the same.
"""

import shutil

import polars as pl
import pytest

from workdir import Workdir

pytestmark = [pytest.mark.heavy, pytest.mark.e2e, pytest.mark.slow]

TRAINED, BROUGHT = "tiny.tales.six-steps.s0", "tiny.adapter.tales-s0"


@pytest.fixture(scope="module")
def works(tmp_path_factory, embedded_model):
    """Working folders of the study that trains and of the one that brings its adapter."""
    trained = Workdir(tmp_path_factory.mktemp("trained"), "smallest", embedded_model)
    trained.config["sampling"]["temperature"] = 0.0
    trained.run()
    brought = Workdir(tmp_path_factory.mktemp("brought"), "smallest", embedded_model)
    brought.config["sampling"]["temperature"] = 0.0
    adapter = shutil.copytree(
        trained.results / "adapters" / TRAINED, brought.folder / "mine" / "my-run"
    )
    (adapter / "manifest.json").unlink()
    block = {"base": "tiny", "adapter": "mine/my-run", "dataset": "tales", "seed": 0}
    brought.config["variants"] = [block]
    run = brought.run()
    assert "finetune" not in run.jobs
    assert run.jobs["sample"] == 2
    return trained, brought


def renamed(table: pl.DataFrame, variant: str, group: str) -> pl.DataFrame:
    """The table without what differs by design: ids of the fine-tune, and the recipe."""
    texts = [name for name, kind in table.schema.items() if kind == pl.String]
    for old, new in ((variant, "VARIANT"), (group, "GROUP")):
        table = table.with_columns(pl.col(texts).str.replace_all(old, new, literal=True))
    return table.drop("recipe", strict=False)


def test_the_answers_are_the_same(works):
    found = [
        pl.read_parquet(work.results / "responses" / f"{batch}.parquet")
        for work, batch in zip(works, ("tiny.tales.0", "tiny.adapter.0"), strict=True)
    ]
    assert found[0]["response"].to_list() == found[1]["response"].to_list()
    assert found[0]["adapter_sha256"].equals(found[1]["adapter_sha256"])


def test_the_tables_are_the_same(works):
    trained, brought = works
    names = {path.name for path in (brought.results / "tables").glob("*.parquet")}
    left_out = {"dose.parquet", "training.parquet"}  # nothing was trained
    assert {p.name for p in (trained.results / "tables").glob("*.parquet")} - left_out == names
    for name in sorted(names):
        first = renamed(
            pl.read_parquet(trained.results / "tables" / name), TRAINED, "tiny.tales.six-steps"
        )
        second = renamed(
            pl.read_parquet(brought.results / "tables" / name), BROUGHT, "tiny.adapter.tales"
        )
        assert first.equals(second), name
