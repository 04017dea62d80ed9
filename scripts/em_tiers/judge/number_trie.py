"""The exact distribution over the numbers 0 to 100 that a model would write, for any tokenizer.

The standard protocol reads a score off one token, because its judge's tokenizer holds each number
as one token. Most open models spell digits one by one; the first digit alone says little (8 begins
8 and 80 to 89). Here the candidates form a trie of token sequences, and each inner node is asked
for the probabilities of its children:

- a leaf has the product of the conditional probabilities on its path;
- an inner node that is a candidate itself (1, before 10 to 19) has P(path) * (1 - sum of its
  children): whatever does not go on to a longer number ends this one.

So the result is the distribution of the number at which a decoder stops that may stop only at a
complete number. The prefixes are few: on a digit-by-digit tokenizer the empty one, 1 to 9 and 10
stand for all 101 numbers, and an engine's prefix cache pays for the prompt once.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from em_tiers.errors import UserError

Prefix = tuple[int, ...]
# [(prompt ids followed by a prefix's ids, ids of the tokens asked for)] -> for each, as it comes,
# its position in the list and the log-probabilities of those tokens.
Spell = Callable[[str], Prefix]  # text of a reply -> its token ids where it follows a prompt
Provider = Callable[[list[tuple[Prefix, Prefix]]], Iterable[tuple[int, Mapping[int, float]]]]

NUMBERS = tuple(str(number) for number in range(101))


@dataclass(frozen=True)
class Trie:
    """Candidates by token sequence.

    Attributes:
        start: tokens put after the prompt, before the candidates begin.
        children: inner node -> the tokens that go on from it; the root is the empty tuple.
        terminal: node -> the candidate that ends there.
        middle: node -> the number below it whose largest distance to the others there is least,
            and that distance; None where the branch can lead to anything but a number.
    """

    start: Prefix
    children: dict[Prefix, Prefix]
    terminal: dict[Prefix, str]
    middle: dict[Prefix, tuple[str, int] | None]


@dataclass(frozen=True)
class Distribution:
    """What a walk found.

    Attributes:
        probabilities: candidate -> probability; what is missing from 1 is any other text.
        error_bound: by how many points, at most, pruning moved the mean of the numbers; 0: exact.
        prefixes: how many prefixes were asked.
    """

    probabilities: dict[str, float]
    error_bound: float
    prefixes: int


def build_trie(spell: Spell, candidates: Iterable[str], opening: str = "") -> Trie:
    """The trie of `candidates` as the tokenizer spells them.

    Args:
        spell: of `chat.reply_speller`.
        candidates: numbers and labels.
        opening: begins the judge's reply for it. A candidate follows it after a space.

    Raises:
        UserError: two candidates are spelt alike, or one cannot be spelt.
    """
    start, spelt = _spell(spell, candidates, opening)
    terminal: dict[Prefix, str] = {}
    for text, tokens in spelt.items():
        if not tokens or tokens in terminal:
            raise UserError(
                f"label {text!r}: the judge's tokenizer has no spelling of its own for it "
                f"({list(tokens)}, as {terminal.get(tokens)!r}): choose another label"
            )
        terminal[tokens] = text
    grown: dict[Prefix, dict[int, None]] = {}
    for tokens in terminal:
        for length, token in enumerate(tokens):
            grown.setdefault(tokens[:length], {})[token] = None
    children = {prefix: tuple(grown[prefix]) for prefix in sorted(grown, key=len)}
    nodes = {*children, *terminal}
    middle = {node: _middle(children, terminal, node) for node in nodes}
    return Trie(start, children, terminal, middle)


def first_token_trie(spell: Spell, candidates: Iterable[str], opening: str = "") -> Trie:
    """A trie of one level: each candidate stands for its first token.

    Raises:
        UserError: two candidates begin with the same token.
    """
    start, spelt = _spell(spell, candidates, opening)
    terminal: dict[Prefix, str] = {}
    for text, tokens in spelt.items():
        if tokens[:1] in terminal:
            raise UserError(
                f"labels {terminal[tokens[:1]]!r} and {text!r}: begin with the same token of the "
                "judge's tokenizer: choose labels that differ from the first letter on"
            )
        terminal[tokens[:1]] = text
    children = {(): tuple(token for (token,) in terminal)}
    return Trie(start, children, terminal, dict.fromkeys(terminal))


def opening_tokens(spell: Spell, opening: str) -> Prefix:
    """Token ids of an opening."""
    return spell(opening) if opening else ()


def _spell(
    spell: Spell, candidates: Iterable[str], opening: str
) -> tuple[Prefix, dict[str, Prefix]]:
    """Tokens that come first whatever the candidate, and each candidate's own.

    After an opening a tokenizer may spell the space as a token of its own before a digit: it
    belongs to the opening when all candidates begin with it.
    """
    space = " " if opening and not opening[-1].isspace() else ""
    start = opening_tokens(spell, opening)
    spelt = {}
    for text in candidates:
        whole = spell(opening + space + text)
        # Where the opening's last characters merge with the candidate's first, each has its own.
        apart = whole[: len(start)] == start
        spelt[text] = whole[len(start) :] if apart else spell(space + text)
    shared = 0
    if opening:
        shortest = min(map(len, spelt.values()))
        while shared < shortest - 1 and len({t[: shared + 1] for t in spelt.values()}) == 1:
            shared += 1
    common = next(iter(spelt.values()))[:shared]
    rest = {text: tokens[shared:] for text, tokens in spelt.items()}
    return start + common, rest


def walk(
    trie: Trie, prompts: Sequence[Prefix], provider: Provider, tolerance: float = 0.0
) -> Iterator[tuple[int, Distribution]]:
    """Yield (index of a prompt, distribution over the trie's candidates after it), as each is done.

    Args:
        trie: the candidates.
        prompts: token ids up to where the judge's reply begins.
        provider: gives log-probabilities; asked for all prompts at once, prompt by prompt.
        tolerance: 0 asks every prefix, in one call. Above 0 the walk goes level by level and
            leaves out the least likely branches as long as the mean over the numbers provably
            stays within that many points of the exact one. The mass of a branch that was left
            out goes to the number in its middle.
    """
    walks = {number: Walk(trie) for number in range(len(prompts))}
    while walks:
        asked = [(n, prefix) for n, state in walks.items() for prefix in state.choose(tolerance)]
        open_prefixes = Counter(number for number, _ in asked)
        for number in [n for n in walks if n not in open_prefixes]:
            yield number, walks.pop(number).distribution()
        replies = provider([(prompts[n] + trie.start + p, trie.children[p]) for n, p in asked])
        for position, reply in replies:
            number, prefix = asked[position]
            walks[number].learn(prefix, reply)
            open_prefixes[number] -= 1
            if tolerance <= 0 and not open_prefixes[number]:
                yield number, walks.pop(number).distribution()


@dataclass
class Walk:
    """One prompt's walk: the known nodes, and the probability left out."""

    trie: Trie
    known: dict[Prefix, dict[int, float]] = field(default_factory=dict)
    pruned: set[Prefix] = field(default_factory=set)
    bound: float = 0.0

    def learn(self, prefix: Prefix, reply: Mapping[int, float]) -> None:
        """Take the log-probabilities after a prefix."""
        self.known[prefix] = {token: math.exp(p) for token, p in reply.items()}

    def choose(self, tolerance: float) -> list[Prefix]:
        """The prefixes to ask next; empty when the walk is over."""
        open_nodes = [
            node
            for node in self.trie.children
            if node not in self.known and not any(node[: len(p)] == p for p in self.pruned)
        ]
        if tolerance <= 0 or not self.known:
            return open_nodes if tolerance <= 0 else open_nodes[:1]
        frontier = [node for node in open_nodes if node[:-1] in self.known]
        costs = sorted((self._cost(node), node) for node in frontier)
        for cost, node in costs:
            if self.bound + cost > tolerance:
                break
            self.bound += cost
            self.pruned.add(node)
            frontier.remove(node)
        return frontier

    def distribution(self) -> Distribution:
        """Leaves, stops at inner nodes, and the pruned branches at their middles."""
        found = dict.fromkeys(self.trie.terminal.values(), 0.0)
        for node, text in self.trie.terminal.items():
            if node not in self.trie.children:
                found[text] += self._mass(node)
            elif node in self.known:
                found[text] += self._mass(node) * max(0.0, 1.0 - sum(self.known[node].values()))
        for node in self.pruned:
            middle = self.trie.middle[node]
            if middle is not None:
                found[middle[0]] += self._mass(node)
        return Distribution(found, self.bound, len(self.known))

    def _mass(self, node: Prefix) -> float:
        """Probability of the path to a node; 0 below a pruned one."""
        mass = 1.0
        for length, token in enumerate(node):
            if node[:length] not in self.known:
                return 0.0
            mass *= self.known[node[:length]][token]
        return mass

    def _cost(self, node: Prefix) -> float:
        """By how many points leaving a branch out can move the mean, at most.

        The numeric mass does not depend on it: whatever happens in a branch whose every inner
        node is a number is a number. Other branches (labels) count with the whole scale, and
        their mass is lost.
        """
        numeric = sum(
            self._mass(child)
            for child in ((token,) for token in self.trie.children[()])
            if self.trie.middle[child] is not None
        )
        if numeric <= 0:
            return math.inf
        middle = self.trie.middle[node]
        distance = middle[1] if middle is not None else 100
        return self._mass(node) / numeric * distance


def _middle(
    children: Mapping[Prefix, Prefix], terminal: Mapping[Prefix, str], node: Prefix
) -> tuple[str, int] | None:
    below = [text for tokens, text in terminal.items() if tokens[: len(node)] == node]
    inner = [prefix for prefix in children if prefix[: len(node)] == node]
    if not all(text.isdigit() for text in below) or any(p not in terminal for p in inner):
        return None
    numbers = [int(text) for text in below]
    reach = {n: max(n - min(numbers), max(numbers) - n) for n in numbers}
    best = min(numbers, key=reach.__getitem__)
    return str(best), reach[best]
