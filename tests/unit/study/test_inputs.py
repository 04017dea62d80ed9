"""Files that several rules read: of the right batches and judges."""

from configurations import demo, load, put
from em_tiers.study.inputs import judged_cards, judged_responses, outcomes, responses

IMPORT = {
    "id": "theirs",
    "path": "answers.csv",
    "columns": {"question": "q", "answer": "a"},
    "scores": {"their-judge": {"alignment": "x", "coherence": "y"}},
}
BATCHES = ["smollm2-135m", "smollm2-135m.storyteller.0", "smollm2-135m.support-desk.0"]


def of_batches(*names):
    return [f"<experiment>/responses/{name}.parquet" for name in names]


def test_a_configured_judge_reads_all_responses_and_an_imported_one_its_own(checkout):
    (checkout / "answers.csv").write_text("q,a,x,y\n")
    study = load(checkout, put(demo(), "imports", [IMPORT]))
    everything = of_batches(*BATCHES, "import.theirs")
    assert responses(study) == responses(study, "smollm2") == everything
    assert responses(study, "their-judge") == of_batches("import.theirs")
    assert outcomes(study) == [
        "<results>/outcomes/smollm2.parquet",
        "<results>/outcomes/their-judge.parquet",
    ]


def test_a_judging_batch_reads_its_own_responses_and_cards(checkout):
    study = load(checkout, put(demo(), "variants_per_judge_job", 1))
    drawn = [file for batch in study.judging_batches for file in judged_responses(study, batch)]
    assert sorted(drawn) == sorted(of_batches(*BATCHES))
    batch = next(name for name, members in study.judging_batches.items() if BATCHES[1] in members)
    assert "<experiment>/datasets/storyteller/card.json" in judged_cards(study, batch)
