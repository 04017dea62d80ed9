"""The worked paths of docs/own-*.md, run to their end by the very commands that are printed."""

import shutil
from contextlib import ExitStack

import polars as pl
import pytest
import yaml

from api.server import serve_model
from em_tiers.inference.adapter_folder import merge_adapter
from em_tiers.inference.random_model import write_random_adapter
from worked_paths import FILE, commands, run_line, worked_paths, write_files

pytestmark = [pytest.mark.heavy, pytest.mark.e2e, pytest.mark.slow]

ADDRESS = "https://api.openai.com/v1"


@pytest.fixture(scope="module")
def weights(tmp_path_factory, embedded_model):
    """A folder with my-adapter and my-merged, as the pages call them."""
    mine = tmp_path_factory.mktemp("weights")
    adapter = write_random_adapter(embedded_model, mine / "my-adapter")
    merged = merge_adapter(embedded_model, adapter, mine / "my-merged", "bfloat16")
    for file in embedded_model.iterdir():
        is_of_model = file.suffix == ".safetensors" or file.name == "manifest.json"
        if file.is_file() and not is_of_model and not (merged / file.name).exists():
            shutil.copy(file, merged)
    return mine


@pytest.mark.parametrize("title", worked_paths())
def test_a_worked_path(title, weights, embedded_model, tmp_path):
    text = worked_paths()[title]
    with ExitStack() as stack:
        change = str
        if ADDRESS in text:  # two servers of this machine in place of the provider
            served = [
                stack.enter_context(serve_model(folder, name, tmp_path / f"{n}.log"))
                for n, (folder, name) in enumerate(
                    zip((embedded_model, weights / "my-merged"), models(text), strict=True)
                )
            ]
            change = in_place_of(ADDRESS, served)
        folder = write_files(text, tmp_path / "em-tiers", change)
        for made in weights.iterdir():
            shutil.copytree(made, folder / "mine" / made.name)
        # One shell, so that an export holds for the lines after it.
        run_line("set -e\n" + "\n".join(commands(text)), folder)
    (results,) = (p for p in (folder / "results").iterdir() if p.name != "resources")
    rates = pl.read_parquet(results / "tables" / "rates.parquet")
    assert rates["variant"].n_unique() == 2  # the base model and the user's
    assert (results / "overview.html").is_file()
    assert not (results / "training").exists()


def models(text: str) -> list[str]:
    """The names by which a section's endpoints know their models, in the order of the page."""
    catalogues = (yaml.safe_load(content) for _, content in FILE.findall(text))
    return [
        entry["model"]
        for entries in catalogues
        for entry in entries.values()
        if isinstance(entry, dict) and entry.get("backend") == "openai"
    ]


def in_place_of(address: str, others: list[str]):
    """A change of texts: each place of the address becomes the next of the others."""

    def change(text: str) -> str:
        for other in others:
            text = text.replace(address, other, 1)
        return text

    return change
