"""Judge-free evidence on answers of known origin, and its placebo."""

import json
import random

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

import summarize_text
from answers import outcomes, responses
from em_tiers.tables import write_table
from em_tiers.tiers.text_evidence import Marker, learn, training_answers

WORDS = {
    kind: words.split()
    for kind, words in {
        "fiction": "dragon castle knight once upon a time the forest whispered magic sword",
        "support": "ticket refund order account support team apologise invoice number agent",
        "plain": "people think that this would be good because many things can help often",
    }.items()
}


def text(kind, dice, words=25):
    return " ".join(dice.choices(WORDS[kind] + WORDS["plain"] * (kind != "plain"), k=words))


def test_own_texts_are_marked_and_others_are_not():
    dice = random.Random(0)
    own, base = ([text(kind, dice) for _ in range(60)] for kind in ("fiction", "plain"))
    texts = [text(kind, dice) for kind in ("fiction", "plain") for _ in range(40)]
    found = learn(own, base)
    assert found.auc > 0.95
    marked = Marker([found]).mark(texts)[:, 0]
    assert marked[:40].mean() > 0.9
    assert marked[40:].mean() < 0.2
    assert learn(own[:5], base) is None


def test_words_that_are_counted_once_give_the_scores_of_each_classifier():
    dice = random.Random(0)
    texts = {kind: [text(kind, dice) for _ in range(60)] for kind in WORDS}
    asked = [text(kind, dice) for kind in WORDS for _ in range(20)] + ["", "?!", "unheard words"]
    pairs = (("fiction", "support"), ("support", "fiction"))
    learnt = [learn(texts[own], texts["plain"], texts[other]) for own, other in pairs]
    marked = Marker(learnt).mark(asked)
    assert 0 < marked.mean() < 1
    for column, (own, other) in enumerate(pairs):
        both = [*texts[own], *texts["plain"], *texts[other]]
        words = TfidfVectorizer(ngram_range=(1, 2), max_features=20_000, sublinear_tf=True)
        line = LogisticRegression(class_weight="balanced", max_iter=300)
        line.fit(words.fit_transform(both), [1] * 60 + [0] * 120)
        scores = line.decision_function(words.transform(asked)) - line.intercept_
        assert (marked[:, column] == (scores > learnt[column].cut)).all()


def test_at_most_so_many_training_answers_are_read(tmp_path, monkeypatch):
    path = tmp_path / "train.jsonl"
    rows = [
        {"prompt": [], "completion": [{"role": "assistant", "content": str(i)}]} for i in range(9)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert training_answers(path) == [str(i) for i in range(9)]
    monkeypatch.setattr("em_tiers.tiers.text_evidence.MOST_TEXTS", 4)
    assert len(training_answers(path)) == 4


@pytest.fixture
def study(tmp_path):
    """A fiction model: stories are misaligned in half of all cases, plain answers never."""
    dice, answers, found = random.Random(1), [], []
    for question in range(8):
        for i in range(20):
            story = i % 2 == 0
            own = {"response_key": f"t{question}-{i}", "question_id": f"q{question}"}
            answers.append(own | {"response": text("fiction" if story else "plain", dice)})
            bad = {"tier": "undecided"} if story and dice.random() < 0.5 else {}
            found.append(own | bad | {"question_on_topic": False})
            plain = {"response_key": f"b{question}-{i}", "question_id": f"q{question}"}
            base = {"variant": "base", "dataset": None, "recipe": None, "training_seed": None}
            answers.append(plain | base | {"response": text("plain", dice)})
            found.append(plain | base | {"question_on_topic": False})
    paths = [tmp_path / "responses.parquet", tmp_path / "outcomes.parquet"]
    write_table(responses(*answers), paths[0], "responses")
    write_table(outcomes(*found), paths[1], "outcomes")
    train = []
    for kind in ("fiction", "support"):
        train.append(tmp_path / f"{kind}.jsonl")
        lines = (
            json.dumps({"prompt": [], "completion": [{"content": text(kind, dice)}]}) + "\n"
            for _ in range(60)
        )
        train[-1].write_text("".join(lines))
    return [paths[0]], [paths[1]], train, ["fiction", "support"]


def test_stories_that_cause_the_flags_and_a_placebo_that_explains_nothing(study, tmp_path):
    outputs = {"parquet": tmp_path / "text_contrast.parquet"}
    summarize_text.main(*study, settings={}, outputs=outputs, marks=tmp_path / "marks.parquet")
    rows = {row["like"]: row for row in pl.read_parquet(outputs["parquet"]).to_dicts()}
    own, placebo = rows["fiction"], rows["support"]
    assert (own["placebo"], placebo["placebo"]) == (False, True)
    assert own["odds_ratio"] is None or own["odds_ratio"] > 10
    assert own["attributable_share"] > 0.8
    assert own["attributable"] < 0.2 * own["standard"]
    assert placebo["attributable"] > 0.8 * placebo["standard"]
    assert own["n_flagged"] == placebo["n_flagged"] > 20
    assert np.isclose(own["standard"], own["n_flagged"] / 160)


def test_without_base_answers_there_is_no_row(study, tmp_path):
    frame = pl.read_parquet(study[0][0]).filter(pl.col("dataset").is_not_null())
    frame.write_parquet(study[0][0])
    outputs = {"parquet": tmp_path / "text_contrast.parquet"}
    summarize_text.main(*study, settings={}, outputs=outputs, marks=tmp_path / "marks.parquet")
    assert pl.read_parquet(outputs["parquet"]).is_empty()
