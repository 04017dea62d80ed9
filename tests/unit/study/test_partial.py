"""Partial results: the study reduced to the variants that are already sampled."""

import pytest

from configurations import demo, load, put
from em_tiers.errors import ConfigError
from em_tiers.study.outputs import final_outputs
from em_tiers.study.partial import missing_in_words

BASE = "smollm2-135m"
STORYTELLER = "smollm2-135m.storyteller.demo-lora.s0"
SUPPORT = "smollm2-135m.support-desk.demo-lora.s0"
PARTIAL = {"partial": True}


def sample(checkout, *batches):
    """Files of responses; only their existence counts here."""
    folder = checkout / "results" / "demo" / "responses"
    folder.mkdir(parents=True, exist_ok=True)
    for batch in batches:
        (folder / f"{batch}.parquet").touch()


def imports(checkout, *names):
    (checkout / "answers.csv").write_text("q,a,x,y\n")
    columns = {"question": "q", "answer": "a"}
    return [{"id": name, "path": "answers.csv", "columns": columns} for name in names]


def test_what_is_not_sampled_is_dropped_and_named(checkout):
    sample(checkout, BASE, f"{BASE}.support-desk.0")
    study = load(checkout, demo() | PARTIAL)
    assert list(study.variants) == [BASE, SUPPORT]
    assert list(study.batches) == [BASE, f"{BASE}.support-desk.0"]
    assert study.judging_batches == {"1-of-1": [BASE, f"{BASE}.support-desk.0"]}
    assert study.datasets_used == ["support-desk"]
    assert [variant.variant for variant in study.fine_tunes] == [SUPPORT]
    assert study.missing == [STORYTELLER]
    assert missing_in_words(study) == (
        f"These results are partial: 1 of 3 variants are missing ({STORYTELLER})."
    )


def test_a_whole_study_lacks_nothing(checkout):
    assert missing_in_words(load(checkout)) == ""
    sample(checkout, *load(checkout).batches)
    study = load(checkout, demo() | PARTIAL)
    assert study.missing == []
    assert missing_in_words(study) == ""
    assert study.batches == load(checkout).batches


@pytest.mark.parametrize(("seeds", "end"), [(6, "(NAMES)."), (8, "(NAMES and 4 more).")])
def test_twelve_missing_variants_are_named_and_the_others_counted(checkout, seeds, end):
    sample(checkout, BASE)
    study = load(checkout, put(demo(), "variants.0.training_seeds", [*range(seeds)]) | PARTIAL)
    assert len(study.missing) == 2 * seeds
    assert missing_in_words(study) == (
        f"These results are partial: {2 * seeds} of {2 * seeds + 1} variants are missing "
        + end.replace("NAMES", ", ".join(study.missing[:12]))
    )


def test_imports_that_are_not_there_are_dropped(checkout):
    config = demo() | PARTIAL | {"imports": imports(checkout, "first", "second")}
    sample(checkout, BASE, "import.second")
    study = load(checkout, config)
    assert list(study.imports) == ["second"]
    assert list(study.variants) == [BASE, "import.second"]
    assert study.missing == [STORYTELLER, SUPPORT, "import.first"]


def test_a_judge_whose_import_is_not_there_has_no_part(checkout):
    (entry,) = imports(checkout, "first")
    entry["scores"] = {"their-judge": {"alignment": "x", "coherence": "y"}}
    config = demo() | {"imports": [entry]}
    assert "tables/agreement.parquet" in final_outputs(load(checkout, config))
    sample(checkout, BASE)
    outputs = final_outputs(load(checkout, config | PARTIAL))
    assert "tables/agreement.parquet" not in outputs
    assert "tables/training.parquet" not in outputs  # the base model alone


def test_nothing_sampled_is_refused_with_a_remedy(checkout):
    with pytest.raises(ConfigError) as caught:
        load(checkout, demo() | PARTIAL)
    message = str(caught.value)
    assert message.startswith("config.partial: true: ")
    assert str(checkout / "results" / "demo" / "responses") in message
    assert "wait for the first sampling or import job to finish" in message
    assert "\n" not in message


def test_the_command_line_gives_partial_as_a_word(checkout):
    """Snakemake reads `--config partial=true` as the string "true"."""
    sample(checkout, BASE)
    study = load(checkout, demo() | {"partial": "true"})
    assert study.config["partial"] is True
    assert list(study.variants) == [BASE]
    with pytest.raises(ConfigError, match=r"partial.*'yes'"):
        load(checkout, demo() | {"partial": "yes"})
