"""Scores from the log-probabilities of a trie's tokens, with everything constant computed once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from em_tiers.judge.number_trie import Distribution, Prefix, Trie
from em_tiers.judge.rubrics import Rubric
from em_tiers.judge.verdicts import MIN_MASS, Verdict, choice_verdict, number_verdict

# Probabilities below this are left out of a number's record (the score counts them all), and the
# others have so many decimals: a hundred candidates per verdict would fill the journal.
SHOWN_PROBABILITY = 1e-4
SHOWN_DIGITS = 6
RAREST_LABEL = 1e-6  # of a choice, whose probabilities are counted
_NEVER = -1e4  # the logarithm of 0, for sums


class CandidateScores:
    """Verdicts of one rubric.

    A candidate's probability is the product over the tokens on its path; one that goes on to longer
    candidates has the share that goes on to none of them.

    Attributes:
        prefixes: what is asked about, in the order of `values`.
    """

    def __init__(self, trie: Trie, rubric: Rubric):
        self.trie = trie
        self.rubric = rubric
        self.prefixes: tuple[Prefix, ...] = tuple(trie.children)
        self.tokens: tuple[Prefix, ...] = tuple(trie.children.values())
        self.starts: list[int] = np.cumsum([0, *map(len, self.tokens)]).tolist()
        self.names = list(dict.fromkeys(trie.terminal.values()))
        self._paths, self._ends, self._ended = self._constants()
        self._read_names()

    def _constants(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Edges on the path of each candidate; the candidates that go on, and where."""
        edges = {
            (prefix, token): start + place
            for prefix, tokens, start in zip(
                self.prefixes, self.tokens, self.starts[:-1], strict=True
            )
            for place, token in enumerate(tokens)
        }
        paths = np.zeros((len(self.names), len(edges)))
        inner = {}
        for node, name in self.trie.terminal.items():
            row = self.names.index(name)
            for length, token in enumerate(node):
                paths[row, edges[node[:length], token]] = 1.0
            if node in self.trie.children:
                inner[row] = self.prefixes.index(node)
        return paths, np.array(list(inner), int), np.array(list(inner.values()), int)

    def _read_names(self) -> None:
        """What each candidate stands for by itself: a number, or the meaning of a label."""
        if self.rubric.kind != "number":
            return
        alone = [number_verdict({name: 1.0}, self.rubric) for name in self.names]
        self._is_number = np.array([float(v.score is not None) for v in alone])
        self._numbers = np.array([v.score or 0.0 for v in alone])
        self._meanings = {
            meaning: np.array([float(v.label == meaning) for v in alone])
            for meaning in dict.fromkeys(v.label for v in alone if v.label)
        }

    def probabilities(self, values: Sequence[float]) -> np.ndarray:
        """Probability of each candidate, in the order of `names`.

        Args:
            values: log-probabilities of all tokens of all prefixes.
        """
        logs = np.maximum(np.asarray(values, float), _NEVER)
        found = np.exp(self._paths @ logs)
        if len(self._ends):
            goes_on = np.add.reduceat(np.exp(logs), self.starts[:-1])[self._ended]
            found[self._ends] *= np.maximum(0.0, 1.0 - goes_on)
        return found

    def of_distribution(self, distribution: Distribution) -> np.ndarray:
        """The probabilities that a walk found, in the order of `names`."""
        return np.array([distribution.probabilities[name] for name in self.names])

    def of_first_tokens(self, reply: Mapping[int, float]) -> np.ndarray:
        """Probability of each candidate of a trie of one level."""
        return self.probabilities([reply[token] for token in self.tokens[0]])

    def verdict(self, shares: np.ndarray) -> tuple[Verdict, str]:
        """The verdict of these probabilities, as `verdicts.token_verdict` gives it, and the
        likeliest candidate."""
        likeliest = self.names[int(shares.argmax())]
        if self.rubric.kind != "number":
            named = dict(zip(self.names, shares.tolist(), strict=True))
            return without_rare(choice_verdict(named, self.rubric)), likeliest
        mass = float(shares @ self._is_number)
        seen = np.flatnonzero(shares >= SHOWN_PROBABILITY)
        rounded = np.round(shares[seen], SHOWN_DIGITS).tolist()
        shown = {self.names[i]: p for i, p in zip(seen.tolist(), rounded, strict=True)}
        labels = {meaning: float(shares @ one) for meaning, one in self._meanings.items()}
        if labels and sum(labels.values()) > mass and sum(labels.values()) >= MIN_MASS:
            meaning = max(labels, key=labels.__getitem__)
            return Verdict(meaning, None, meaning, shown, mass), likeliest
        if mass < MIN_MASS:
            return Verdict("unparsable", None, None, shown, mass), likeliest
        score = float(shares @ self._numbers) / mass
        return Verdict("ok", score, None, shown, mass), likeliest


def without_rare(verdict: Verdict) -> Verdict:
    """A choice without the labels that are next to impossible."""
    shares = verdict.probabilities or {}
    return replace(
        verdict, probabilities={name: p for name, p in shares.items() if p >= RAREST_LABEL}
    )
