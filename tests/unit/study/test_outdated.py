"""Files of an earlier division into batches are found; other files are left alone."""

from configurations import demo, load, put
from em_tiers.judge.rounds import write_note
from em_tiers.study.outdated import outdated_files

FINE_TUNE = "smollm2-135m.storyteller"


def make(folder, *names):
    for name in names:
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_files_of_another_division_are_outdated(checkout):
    study = load(checkout, put(demo(), "judges", ["smollm2"]))
    make(
        checkout / "responses",
        "smollm2-135m", f"{FINE_TUNE}.0", f"{FINE_TUNE}.1", f"{FINE_TUNE}.12",
        "smollm2-135m.removed-data-set.0", "import.their-model", "import.run.1",
    )  # fmt: skip
    make(checkout / "verdicts" / "smollm2", "1-of-1", "1-of-2", "2-of-2")
    make(checkout / "verdicts" / "removed-judge", "1-of-2")
    for batch in ("1-of-1", "2-of-2"):
        write_note(checkout / "verdicts" / "smollm2" / f"{batch}.parquet", 0, api_errors=3)
    found = outdated_files(study, checkout, checkout)
    assert [path.relative_to(checkout).as_posix() for path in found] == [
        f"responses/{FINE_TUNE}.1.parquet",
        f"responses/{FINE_TUNE}.12.parquet",
        "verdicts/smollm2/1-of-2.parquet",
        "verdicts/smollm2/2-of-2.parquet",
        "verdicts/smollm2/2-of-2.failed.json",
    ]


def test_a_folder_without_results_has_none(checkout):
    assert list(outdated_files(load(checkout), checkout, checkout)) == []
