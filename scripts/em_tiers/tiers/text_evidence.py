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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BASE_MARKED = 0.95
MOST_TEXTS = 4000
FEWEST_TEXTS = 20
FOLDS = 5


@dataclass(frozen=True)
class TextMarks:
    """Marks of texts by one data set's classifier, and how well it tells its two sides apart.

    Attributes:
        marked: one boolean per text.
        auc: cross-validated, of the data set's training answers against all other texts.
    """

    marked: np.ndarray
    auc: float


def training_answers(path: Path, seed: int = 0) -> list[str]:
    """At most MOST_TEXTS answers of a data set's train.jsonl, drawn at random."""
    with path.open(encoding="utf-8") as file:
        texts = [row["completion"][-1]["content"] for row in map(json.loads, file)]
    if len(texts) <= MOST_TEXTS:
        return texts
    drawn = np.random.default_rng(seed).choice(len(texts), MOST_TEXTS, replace=False)
    return [texts[i] for i in np.sort(drawn)]


def mark_texts(
    own: Sequence[str],
    base: Sequence[str],
    texts: Sequence[str],
    others: Sequence[str] = (),
    seed: int = 0,
) -> TextMarks | None:
    """Marks of `texts`; None where a side has fewer than FEWEST_TEXTS texts.

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
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), max_features=20_000, sublinear_tf=True),
        LogisticRegression(class_weight="balanced", max_iter=300),
    )
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, both, sides, cv=folds, method="decision_function")
    edge = len(own) + len(base)
    sources = (scores[len(own) : edge], scores[edge:])
    cut = max(np.quantile(source, BASE_MARKED) for source in sources if len(source))
    marked = model.fit(both, sides).decision_function(list(texts)) > cut
    return TextMarks(marked, float(roc_auc_score(sides, scores)))
