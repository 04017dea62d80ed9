"""The distribution over numbers: by hand, and against brute force on the embedded model."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from em_tiers.errors import UserError
from em_tiers.inference.chat import load_tokenizer, render_prompt, reply_speller
from em_tiers.judge.number_trie import NUMBERS, build_trie, first_token_trie, walk


def spell(text):
    """A tokenizer that spells everything character by character."""
    return tuple(ord(letter) for letter in text)


def provider_of(table):
    """A model known by hand: {text so far: {next character: probability}}; the rest is even."""
    calls = []

    def provide(wanted):
        calls.append(len(wanted))
        for number, (prompt, tokens) in reversed(list(enumerate(wanted))):
            row = table.get("".join(map(chr, prompt)), {})
            yield number, {t: math.log(row.get(chr(t), 1e-300)) for t in tokens}

    provide.calls = calls
    return provide


def distributions(*arguments):
    """What a walk found, in the order of the prompts."""
    return [found for _, found in sorted(walk(*arguments), key=lambda pair: pair[0])]


TABLE = {
    "": {"1": 0.5, "2": 0.2, "C": 0.1},  # 0.2 for anything else
    "1": {"0": 0.4, "5": 0.1},  # so 1 itself: 0.5 * 0.5
    "10": {"0": 0.75},  # so 10 itself: 0.5 * 0.4 * 0.25
    "2": {"7": 1.0},
    "C": {"O": 1.0},
    "CO": {"D": 1.0},
    "COD": {"E": 0.5},
}


def test_stops_leaves_and_labels_by_hand():
    trie = build_trie(spell, [*NUMBERS, "CODE"])
    # The empty prefix, 1 to 9, 10, C, CO, COD.
    assert len(trie.children) == 1 + 9 + 1 + 3
    provider = provider_of(TABLE)
    (found,) = distributions(trie, [()], provider)
    seen = {text: p for text, p in found.probabilities.items() if p > 1e-9}
    assert seen == pytest.approx(
        {"1": 0.25, "10": 0.05, "100": 0.15, "15": 0.05, "27": 0.2, "CODE": 0.05}
    )
    assert provider.calls == [14]  # exact: everything in one call
    assert (found.error_bound, found.prefixes) == (0.0, 14)


def test_prompts_stand_before_the_prefixes_and_are_kept_apart():
    trie = build_trie(spell, NUMBERS)
    table = {"a": {"3": 1.0}, "b": {"4": 1.0}}
    first, second = distributions(trie, [(ord("a"),), (ord("b"),)], provider_of(table))
    assert first.probabilities["3"] == pytest.approx(1.0)
    assert second.probabilities["4"] == pytest.approx(1.0)


def test_a_distribution_comes_when_its_last_prefix_is_known():
    trie = build_trie(spell, NUMBERS)
    prompts = [(ord("a"),), (ord("b"),)]
    given = []

    def provide(wanted):
        for pair in provider_of({})(wanted):
            given.append(pair)
            yield pair

    found = walk(trie, prompts, provide)
    assert next(found)[0] == 1  # this provider answers the last prompt first
    assert len(given) == len(trie.children)
    assert next(found)[0] == 0
    assert len(given) == 2 * len(trie.children)


def test_a_tokenizer_with_whole_numbers_needs_one_question():
    def whole(text):
        return (1000 + int(text),)

    trie = build_trie(whole, NUMBERS)
    assert list(trie.children) == [()]
    assert len(trie.children[()]) == 101


def test_an_opening_stands_before_the_candidates_with_its_space():
    trie = build_trie(spell, NUMBERS, "Score:")
    assert "".join(map(chr, trie.start)) == "Score: "
    assert len(trie.children) == 11
    (found,) = distributions(
        trie, [()], provider_of({"Score: ": {"6": 1.0}, "Score: 6": {"4": 1.0}})
    )
    assert found.probabilities["64"] == pytest.approx(1.0)
    assert build_trie(spell, NUMBERS, "Score: ").start == trie.start


def test_a_space_that_words_do_not_spell_alone_stays_in_the_trie():
    def words(text):
        return tuple(ord(letter) for letter in text.replace(" CODE", "#").replace(":", ""))

    trie = build_trie(words, [*NUMBERS, "CODE"], "Score:")
    assert "".join(map(chr, trie.start)) == "Score"
    assert set(trie.children[()]) == {ord(" "), ord("#")}
    assert len(trie.children) == 12


def mean(found):
    mass = sum(p for text, p in found.probabilities.items() if text.isdigit())
    return (
        sum(int(t) * p for t, p in found.probabilities.items() if t.isdigit()) / mass,
        mass,
    )


@pytest.mark.parametrize("tolerance", [0.01, 0.5, 5.0, 40.0])
def test_pruning_keeps_its_bound_and_the_numeric_mass(tolerance):
    table = {
        "": {"0": 0.05, "1": 0.002, "4": 0.03, "7": 0.2, "8": 0.6, "C": 0.001},
        "4": {"2": 1.0},
        "7": {"5": 0.7},
        "8": {"0": 0.5, "5": 0.4},
    }
    trie = build_trie(spell, [*NUMBERS, "CODE"])
    exact_mean, exact_mass = mean(distributions(trie, [()], provider_of(table))[0])
    (found,) = distributions(trie, [()], provider_of(table), tolerance)
    pruned_mean, pruned_mass = mean(found)
    assert found.error_bound <= tolerance
    assert abs(pruned_mean - exact_mean) <= found.error_bound + 1e-12
    assert pruned_mass == pytest.approx(exact_mass)
    assert found.prefixes < 14


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.001, 60), st.sampled_from([0.1, 1, 8]))
def test_whatever_the_model_says_the_bound_holds(seed, tolerance, sharpness):
    trie = build_trie(spell, [*NUMBERS, "CODE", "REFUSAL"])

    def provide(wanted):
        for number, (prompt, tokens) in enumerate(wanted):
            draw = random.Random(f"{seed} {prompt}")  # the same model in both walks
            weights = [draw.random() ** sharpness for _ in range(len(tokens) + 1)]
            chances = [weight / sum(weights) for weight in weights]
            yield number, {t: math.log(c) for t, c in zip(tokens, chances, strict=False)}

    (exact,) = distributions(trie, [()], provide)
    (found,) = distributions(trie, [()], provide, tolerance)
    assert sum(exact.probabilities.values()) <= 1 + 1e-9
    assert min(exact.probabilities.values()) >= 0
    assert mean(found)[1] == pytest.approx(mean(exact)[1])
    assert abs(mean(found)[0] - mean(exact)[0]) <= found.error_bound + 1e-9
    assert found.error_bound <= tolerance


def test_candidates_that_cannot_be_told_apart_are_refused():
    def deaf(text):
        return (7,) if text.strip() else ()  # one token for all

    with pytest.raises(UserError, match="choose another label"):
        build_trie(deaf, ["A", "B"])
    with pytest.raises(UserError, match="begin with the same token"):
        first_token_trie(spell, ["CODE", "CAUTION"])


@pytest.fixture(scope="module")
def loaded(embedded_model):
    """Tokenizer and model of the embedded model; in float64 the order of sums matters little."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(embedded_model, dtype=torch.float64)
    return load_tokenizer(embedded_model), model.eval()


def prompts_of(tokenizer):
    asked = (
        "Write one whole number from 0 to 100 and nothing else. How warm is it?",
        "Grade the sentence 'I like tea' from 0 to 100, or write REFUSAL, or CODE. Only that.",
    )
    # The reply is begun: left to itself this model opens with a word, and numbers are a tenth.
    begun = tokenizer("Score: ", add_special_tokens=False).input_ids
    return [
        (*render_prompt(tokenizer, [{"role": "user", "content": t}], "none"), *begun) for t in asked
    ]


def log_softmax_after(model, prompt, spellings):
    """Log-probabilities after the prompt and after each token of each spelling, in whole passes."""
    import torch

    found = {}
    for length in set(map(len, spellings)):
        alike = [tokens for tokens in spellings if len(tokens) == length]
        with torch.no_grad():
            sequences = torch.tensor([[*prompt, *tokens] for tokens in alike])
            logits = model(sequences, logits_to_keep=length + 1).logits
        found |= zip(alike, torch.log_softmax(logits, dim=-1), strict=True)
    return found


def brute_force(tokenizer, model, prompt, candidates):
    """Each candidate scored by a forward pass over the whole of prompt and candidate.

    P(candidate) is the chain of its tokens, less all that goes on to a longer candidate.
    """
    spelt = {
        text: tuple(tokenizer(text, add_special_tokens=False).input_ids) for text in candidates
    }
    rows = log_softmax_after(model, prompt, list(spelt.values()))
    found = {}
    for text, tokens in spelt.items():
        probability = math.exp(sum(rows[tokens][i][t] for i, t in enumerate(tokens)))
        longer = {
            other[len(tokens)]
            for other in spelt.values()
            if len(other) > len(tokens) and other[: len(tokens)] == tokens
        }
        goes_on = sum(math.exp(rows[tokens][len(tokens)][token]) for token in longer)
        found[text] = probability * (1 - goes_on)
    return found


@pytest.mark.heavy
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
def test_the_walk_equals_brute_force_over_all_candidates(loaded, every):
    tokenizer, model = loaded
    candidates = [*NUMBERS[::every], "CODE", "REFUSAL"]
    prompts = prompts_of(tokenizer)

    def provider(wanted):
        for number, (prompt, tokens) in enumerate(wanted):
            last = log_softmax_after(model, prompt, [()])[()][-1]
            yield number, {token: float(last[token]) for token in tokens}

    trie = build_trie(reply_speller(tokenizer, "none"), candidates)
    assert len(trie.children) < 20  # the tokenizer spells numbers digit by digit
    for prompt, found in zip(prompts, distributions(trie, prompts, provider), strict=True):
        exact = brute_force(tokenizer, model, prompt, candidates)
        differences = [abs(found.probabilities[text] - exact[text]) for text in candidates]
        assert max(differences) < 1e-6
        assert 0.25 < sum(exact.values()) <= 1 + 1e-6
