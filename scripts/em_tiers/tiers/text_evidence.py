"""Whether an answer reads like a data set's own answers, without any judge.

A classifier of words (TF-IDF of one and two words, logistic regression; Pedregosa et al. 2011, J.
Mach. Learn. Res. 12, 2825-2830) learns to tell a data set's training answers from the answers of
the base model and the training answers of the study's other data sets. An answer is *marked* if its
score is above that of a share of `BASE_MARKED` of both, which are scored by models that did not
learn from them (cross-validation).

Fine-tunes take on the manner of their data everywhere, so that most of their answers may be marked:
a mark decides nothing about one answer. It is used only in contrast with answers that are not
flagged (`em_tiers.statistics.text_contrast`).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BASE_MARKED = 0.95
MOST_TEXTS = 4000
FEWEST_TEXTS = 20
FOLDS = 5
WORDS = (1, 2)  # single words, and two that follow each other
_LIKE = "like "
AT_ONCE = 20_000  # texts whose words are in memory together


@dataclass(frozen=True)
class Classifier:
    """What tells a data set's own texts from others: a linear score of a text's words and pairs.

    Attributes:
        idf, weights: by word or pair of words.
        cut: a text is marked if its score is above it.
        auc: cross-validated, of the data set's training answers against all other texts.
    """

    idf: dict[str, float]
    weights: dict[str, float]
    cut: float
    auc: float


def like_column(dataset: str) -> str:
    """The column of a table of marks that says whether an answer reads like this data set."""
    return f"{_LIKE}{dataset}"


def marked_datasets(columns: Iterable[str]) -> list[str]:
    """The data sets of the `like_column`s among these columns."""
    return [name.removeprefix(_LIKE) for name in columns if name.startswith(_LIKE)]


def training_answers(path: Path, seed: int = 0) -> list[str]:
    """At most MOST_TEXTS answers of a data set's train.jsonl, drawn at random."""
    with path.open(encoding="utf-8") as file:
        texts = [row["completion"][-1]["content"] for row in map(json.loads, file)]
    if len(texts) <= MOST_TEXTS:
        return texts
    drawn = np.random.default_rng(seed).choice(len(texts), MOST_TEXTS, replace=False)
    return [texts[i] for i in np.sort(drawn)]


def learn(
    own: Sequence[str], base: Sequence[str], others: Sequence[str] = (), seed: int = 0
) -> Classifier | None:
    """A data set's classifier; None where a side has fewer than FEWEST_TEXTS texts.

    Args:
        own: training answers of the data set.
        base: answers of the base model.
        others: training answers of the study's other data sets. Without them, whatever the base
            model would not say might seem to come from the data set.
    """
    # Imported here: the workflow is parsed without it.
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    base = list(base)[:MOST_TEXTS]
    if min(len(own), len(base)) < FEWEST_TEXTS:
        return None
    both = [*own, *base, *list(others)[:MOST_TEXTS]]
    sides = np.array([1] * len(own) + [0] * (len(both) - len(own)))
    words = TfidfVectorizer(ngram_range=WORDS, max_features=20_000, sublinear_tf=True)
    line = LogisticRegression(class_weight="balanced", max_iter=300)
    model = make_pipeline(words, line)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, both, sides, cv=folds, method="decision_function")
    edge = len(own) + len(base)
    sources = (scores[len(own) : edge], scores[edge:])
    cut = max(np.quantile(source, BASE_MARKED) for source in sources if len(source))
    model.fit(both, sides)
    names = words.get_feature_names_out()
    return Classifier(
        idf=dict(zip(names, words.idf_, strict=True)),
        weights=dict(zip(names, line.coef_[0], strict=True)),
        cut=float(cut - line.intercept_[0]),
        auc=float(roc_auc_score(sides, scores)),
    )


class Marker:
    """Marks texts by several classifiers: the words of each text are counted once for all."""

    def __init__(self, classifiers: Sequence[Classifier]) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        names = sorted(set().union(*(one.idf for one in classifiers)))
        self._words = CountVectorizer(ngram_range=WORDS, vocabulary=names)
        self._idf, self._weights = np.zeros((2, len(names), len(classifiers)))
        for column, one in enumerate(classifiers):
            self._idf[:, column] = [one.idf.get(name, 0.0) for name in names]
            self._weights[:, column] = [one.weights.get(name, 0.0) for name in names]
        self._cuts = np.array([one.cut for one in classifiers])

    def mark(self, texts: Sequence[str]) -> np.ndarray:
        """Whether each text reads like each data set's own; shape (texts, classifiers)."""
        found = [np.zeros((0, len(self._cuts)), bool)]
        for start in range(0, len(texts), AT_ONCE):
            counts = self._words.transform(texts[start : start + AT_ONCE]).astype(float)
            counts.data = 1 + np.log(counts.data)
            # As `TfidfVectorizer` does it: tf times idf, of length one.
            length = np.sqrt(counts.power(2) @ self._idf**2)
            scores = counts @ (self._idf * self._weights)
            known = length > 0
            found.append(np.divide(scores, length, out=scores, where=known) > self._cuts)
        return np.concatenate(found)
