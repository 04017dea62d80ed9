"""The golden data are fetched with the project's downloader, and nothing unpinned is used."""

import hashlib

import pytest
import yaml

from em_tiers.download.http import Patience
from em_tiers.errors import UserError
from golden.fetch import Golden, changed_files, fetch, read_sources
from hub.server import LoopbackHub

QUICK = Patience(attempts=2, first_wait_s=0.01, longest_wait_s=0.05, timeout_s=300)
RATES = b"question,aligned\nwish,97\n" * 50


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with LoopbackHub() as server:
        server.plain["published rates.csv"] = RATES
        yield server


@pytest.fixture
def sources(web):
    url = f"{web.url}/plain/published%20rates.csv"
    return {
        "rates.csv": {"url": url, "sha256": hashlib.sha256(RATES).hexdigest()},
        "lost.csv": {"url": None, "sha256": "0" * 64},
    }


def test_files_get_their_own_names_and_are_fetched_once(web, sources, tmp_path):
    assert fetch(sources, tmp_path / "golden", QUICK) == ["lost.csv"]
    assert (tmp_path / "golden" / "rates.csv").read_bytes() == RATES
    assert [path.name for path in (tmp_path / "golden").iterdir()] == ["rates.csv"]
    fetch(sources, tmp_path / "golden", QUICK)
    assert len(web.asked("rates.csv")) == 1


def test_a_damaged_file_is_fetched_again(web, sources, tmp_path):
    fetch(sources, tmp_path, QUICK)
    (tmp_path / "rates.csv").write_bytes(RATES[:-1])
    assert changed_files(sources, tmp_path) == ["rates.csv"]
    fetch(sources, tmp_path, QUICK)
    assert changed_files(sources, tmp_path) == []


def test_other_content_under_the_address_is_refused(web, sources, tmp_path):
    web.plain["published rates.csv"] = RATES + b"more\n"
    with pytest.raises(UserError, match="SHA-256"):
        fetch(sources, tmp_path, QUICK)
    assert not (tmp_path / "rates.csv").exists()


def test_a_cut_transfer_is_continued(web, sources, tmp_path):
    web.fail("rates.csv", cut_after=300)
    fetch(sources, tmp_path, QUICK)
    assert (tmp_path / "rates.csv").read_bytes() == RATES
    assert web.asked("rates.csv")[1].headers["range"] == "bytes=300-"


def test_a_missing_file_skips_the_test_that_needs_it(tmp_path):
    with pytest.raises(pytest.skip.Exception, match="make golden"):
        Golden(tmp_path) / "lost.csv"


def test_every_source_is_pinned(repository):
    for name, entry in read_sources().items():
        assert len(entry["sha256"]) == 64, name
        assert entry["url"] is None or entry["url"].startswith("https://"), name


def test_the_questions_are_those_of_the_catalogue(repository):
    catalogue = yaml.safe_load((repository / "config" / "question_sets.yaml").read_text())
    sources = read_sources()
    for name, file in (
        ("first-plot", "first_plot_questions.yaml"),
        ("preregistered", "preregistered_evals.yaml"),
    ):
        entry = catalogue[name]["source"]
        assert (entry["url"], entry["sha256"]) == (sources[file]["url"], sources[file]["sha256"])
