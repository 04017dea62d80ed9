"""Which variants a system text is compared on."""

import pytest

from adapters import write_adapter
from configurations import demo, load, put
from em_tiers.study.outputs import final_outputs
from em_tiers.study.summaries import warnings
from em_tiers.study.system_contrasts import system_contrasts, without_contrast

BASE = "smollm2-135m"
TUNED = f"{BASE}.storyteller.demo-lora"
TABLE = "tables/system_effects.parquet"
TEXT = "You are Qwen."
BLOCK = {"base": BASE, "datasets": ["storyteller"], "recipe": "demo-lora"}


def study(checkout, *blocks: dict):
    return load(checkout, put(put(demo(), "variants", list(blocks)), "questions", {"core": 1}))


def on_base(text: str = TEXT) -> dict:
    return {"base": BASE, "system": text, "id": "named"}


def test_each_fine_tune_and_its_seeds_together(checkout):
    tuned = BLOCK | {"training_seeds": [0, 1], "system": TEXT, "id": "named"}
    found = study(checkout, tuned, on_base())
    contrasts = {contrast["name"]: contrast for contrast in system_contrasts(found)}
    assert list(contrasts) == [f"{TUNED}.s0.named", f"{TUNED}.s1.named", f"{TUNED}.named"]
    assert contrasts[f"{TUNED}.named"] == {
        "name": f"{TUNED}.named",
        "name_without": TUNED,
        "with_text": [f"{TUNED}.s0.named", f"{TUNED}.s1.named"],
        "without_text": [f"{TUNED}.s0", f"{TUNED}.s1"],
        "base_with_text": [f"{BASE}.system.named"],
        "base_without_text": [BASE],
    }
    assert TABLE in final_outputs(found)
    assert without_contrast(found) == []


def test_a_brought_adapter_that_is_also_asked_without_the_text(checkout):
    write_adapter(checkout / "adapter", base_model_name_or_path=BASE)
    brought = {"base": BASE, "adapter": "adapter"}
    found = study(
        checkout,
        brought | {"id": "theirs"},
        brought | {"id": "theirs-named", "system": TEXT},
        on_base(),
    )
    (contrast,) = system_contrasts(found)
    assert contrast["with_text"] == [f"{BASE}.adapter.theirs-named"]
    assert contrast["without_text"] == [f"{BASE}.adapter.theirs"]


@pytest.mark.parametrize("others", [[], [on_base("You are another.")]])
def test_without_the_same_text_on_the_base_model_there_is_none(checkout, others):
    found = study(checkout, BLOCK | {"system": TEXT, "id": "told"}, *others)
    assert system_contrasts(found) == []
    assert TABLE not in final_outputs(found)
    assert without_contrast(found) == [f"{TUNED}.s0.told"]
    (line,) = [line for line in warnings(found, "results/demo") if "system_effects" in line]
    assert line.startswith(f"{TUNED}.s0.told: no row of the table system_effects")


def test_a_study_without_system_texts_has_no_such_table(checkout):
    assert TABLE not in final_outputs(load(checkout))
