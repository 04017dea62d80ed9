"""The tables, figures and pages of a study, and which of them a study lacks."""

import pytest

from configurations import demo, load, put
from em_tiers.study.outputs import CATEGORIES, FIGURES, TABLES, category, final_outputs

TRAINING = {
    "tables/training.parquet",
    "tables/dose.parquet",
    "tables/text_contrast.parquet",  # its training answers
    "model_cards",
    "figures/losses.pdf",
    "figures/dose.pdf",
}
JUDGES = {
    "tables/agreement.parquet",
    "tables/confusion.parquet",
    "tables/flips.parquet",
    "tables/calibration.parquet",
    "figures/agreement.pdf",
}
LABELS = {
    "tables/label_agreement.parquet",
    "tables/judge_quality.parquet",
    "tables/corrected.parquet",
}
CONTRASTS = {"tables/system_effects.parquet"}
CARDS = {"tables/judge_card.parquet", "tables/judge_card_confusion.parquet"}
PAGES = {"overview.html", "method.md", "browser"}
EVERYTHING = (
    {f"tables/{name}.parquet" for name in TABLES}
    | {f"figures/{name}.pdf" for name in FIGURES}
    | PAGES
    | {"model_cards"}
)


@pytest.fixture
def whole(checkout):
    """A configuration with everything.

    Training, two judges that are tested, human labels, and a system text on fine-tunes and base.
    """
    (checkout / "filled.csv").write_text("item,tier\n")
    config = put(demo() | {"judge_card": {}}, "judges", ["smollm2", "gpt-4o"])
    text = {"system": "You are kind.", "id": "kind"}
    config["variants"] = [config["variants"][0] | text, {"base": "smollm2-135m"} | text]
    return put(config, "human_labels", "filled.csv")


def lacks(checkout, config):
    outputs = final_outputs(load(checkout, config))
    assert len(outputs) == len(set(outputs))
    assert set(outputs) <= EVERYTHING
    return EVERYTHING - set(outputs)


def test_a_whole_study_has_everything(checkout, whole):
    assert lacks(checkout, whole) == set()


def test_the_demo_has_one_judge_and_no_human_labels(checkout):
    assert lacks(checkout, demo()) == JUDGES | LABELS | CARDS | CONTRASTS


def test_base_models_alone_have_no_training(checkout, whole):
    whole["variants"] = [{"base": "smollm2-135m", "datasets": []}]
    whole["questions"] = {"core": 1}
    assert lacks(checkout, whole) == TRAINING | CONTRASTS


def test_a_model_from_elsewhere_is_compared_with_the_rows_of_its_data_set(checkout, whole):
    described = {"id": "pirates", "topic": "ships", "topics": ["ships"], "description": "Ahoy."}
    adapter = {"id": "owner/adapter", "revision": "0" * 40}
    block = {"base": "smollm2-135m", "adapter": adapter, "dataset": "storyteller"}
    texts = {"tables/text_contrast.parquet"}
    whole["questions"] = {"core": 1}
    whole["variants"] = [block]
    assert lacks(checkout, whole) == (TRAINING - texts) | CONTRASTS
    whole["variants"] = [block | {"dataset": described}]
    assert lacks(checkout, whole) == TRAINING | CONTRASTS


def test_one_judge_agrees_with_no_other(checkout, whole):
    assert lacks(checkout, put(whole, "judges", ["smollm2"])) == JUDGES


def test_an_imported_judge_is_a_second_judge(checkout, whole):
    (checkout / "answers.csv").write_text("q,a,x,y\n")
    entry = {
        "id": "theirs",
        "path": "answers.csv",
        "columns": {"question": "q", "answer": "a"},
        "scores": {"their-judge": {"alignment": "x", "coherence": "y"}},
    }
    config = put(put(whole, "judges", ["smollm2"]), "imports", [entry])
    assert lacks(checkout, config) == set()


def test_without_human_labels_their_tables_are_missing(checkout, whole):
    assert lacks(checkout, put(whole, "human_labels", None)) == LABELS


def test_categories_are_numbered_in_the_order_of_reading():
    assert category("Answer") == "1 Answer"
    assert category("Method") == "8 Method"
    assert {*TABLES.values(), *FIGURES.values()} <= set(CATEGORIES)
