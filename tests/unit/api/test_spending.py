"""Costs, ceilings and the estimate before a rerun."""

import random

import pytest

from em_tiers.api.ledger import Ledger, spent_so_far
from em_tiers.api.spending import (
    Budget,
    CeilingReached,
    PricedRequest,
    Spent,
    cost_usd,
    estimate,
)
from em_tiers.errors import TemporaryError, UserError
from em_tiers.journal import Journal

PRICES = {"input_per_million": 2.5, "output_per_million": 10.0}


def test_cost_by_hand():
    # 200,000 x 2.5 / 1e6 = 0.5 and 30,000 x 10 / 1e6 = 0.3
    assert cost_usd(200_000, 30_000, PRICES) == pytest.approx(0.8)
    assert cost_usd(200_000, 30_000, None) is None
    spent = Spent(1200, 200_000, 30_000)
    assert spent.words(PRICES) == "1,200 requests, 200,000 + 30,000 tokens, 0.80 USD"
    assert spent.words(None) == "1,200 requests, 200,000 + 30,000 tokens"


def ask_until_full(budget, prompt=50, completion=1, at_once=1):
    """Send requests of 150 characters until a ceiling stops; return how many were sent."""
    sent, open_ = 0, []
    try:
        while sent < 10_000:
            open_.append(budget.reserve(150, 4))
            sent += 1
            if len(open_) == at_once:
                budget.settle(open_.pop(0), prompt, completion)
    except CeilingReached:
        for reserved in open_:
            budget.settle(reserved, prompt, completion)
    return sent


@pytest.mark.parametrize("at_once", [1, 7])
def test_a_ceiling_on_requests_is_exact(at_once):
    budget = Budget({"requests": 25, "tokens": None}, None)
    assert ask_until_full(budget, at_once=at_once) == 25
    assert budget.spent.requests == 25


@pytest.mark.parametrize("at_once", [1, 16])
def test_a_ceiling_on_tokens_is_not_passed_and_not_missed_by_much(at_once):
    budget = Budget({"tokens": 5_000}, None)
    ask_until_full(budget, at_once=at_once)
    taken = budget.spent.prompt_tokens + budget.spent.completion_tokens
    # One request takes 51 tokens and reserves 50 + 1 + 4; open ones keep their reserve.
    assert 5_000 - 55 - 4 * at_once <= taken <= 5_000


def test_a_ceiling_on_money_is_not_passed():
    budget = Budget({"usd": 0.01}, PRICES)
    sent = ask_until_full(budget, at_once=4)
    # (50 x 2.5 + 1 x 10) / 1e6 = 0.000135 USD a request: 74 fit at most
    assert 68 <= sent <= 74
    assert cost_usd(budget.spent.prompt_tokens, budget.spent.completion_tokens, PRICES) <= 0.01


def test_the_estimate_of_prompts_follows_the_endpoint():
    budget = Budget({"tokens": 100_000}, None)
    first = budget.reserve(300, 1)
    budget.settle(first, 240, 1)  # 0.8 tokens a character instead of a third
    assert budget.reserve(300, 1).prompt_tokens == 241


def test_what_earlier_runs_took_counts_and_so_do_refusals_and_answers_without_counts():
    budget = Budget({"requests": 10}, None, Spent(requests=8))
    budget.settle_refused(budget.reserve(30, 1))
    assert budget.spent == Spent(9, 0, 0)
    budget.settle(budget.reserve(30, 5), None, None)
    assert budget.spent == Spent(10, 11, 5)
    with pytest.raises(CeilingReached, match=r"the ceiling on requests \(10\) is reached"):
        budget.reserve(30, 1)


def test_a_journal_knows_what_was_spent_before_there_were_ledgers(tmp_path):
    assert spent_so_far(tmp_path / "none") == Spent()
    for writer in ("first", "second"):
        with Journal(tmp_path, writer) as journal:
            journal.append("a", {"attempts": 2, "prompt_tokens": 30, "completion_tokens": 1})
            journal.append("b", {"attempts": 1, "prompt_tokens": None, "completion_tokens": None})
    with (tmp_path / "first.jsonl").open("a") as file:
        file.write('{"key":"torn","rec')
    assert spent_so_far(tmp_path) == Spent(6, 60, 2)
    with Ledger(tmp_path, "third") as ledger:
        assert spent_so_far(tmp_path) == Spent(6, 60, 2)
        ledger.reserve("a", 10, 5)
        ledger.settle("a", 8, 1, estimated=False)
        ledger.reserve("b", 10, 5)
        with Journal(tmp_path, "third") as journal:
            journal.append("c", {"attempts": 1, "prompt_tokens": 8, "completion_tokens": 1})
    # What was not settled counts as reserved, and the journal is not counted twice.
    assert spent_so_far(tmp_path) == Spent(8, 78, 8)


def test_one_job_at_a_time_pays_for_the_answers_of_a_journal(tmp_path):
    """Two writers' journals do not see what the other asks, nor what it spends."""
    journal = tmp_path / "gpt"
    with Ledger(journal, "one"):
        with pytest.raises(TemporaryError, match=r"gpt: the model .* already asked by process \d+"):
            Ledger(journal, "two").__enter__()
        with Ledger(tmp_path / "another", "two"):
            pass
    with Ledger(journal, "two") as ledger:
        ledger.reserve("a", 10, 5)
    assert not list(journal.glob("ledger/*.lease"))


def test_lines_of_others_in_a_ledger_are_passed_over(tmp_path):
    with Ledger(tmp_path, "one") as ledger:
        ledger.reserve("a", 10, 5)
    for line in (b"\xff\n", b'{"key":"x","record":7}\n', b'{"key":"y"}\n', b"[" * 9999 + b"\n"):
        with (tmp_path / "ledger" / "one.jsonl").open("ab") as file:
            file.write(line)
    assert spent_so_far(tmp_path) == Spent(1, 10, 5)


def test_no_ceiling_never_stops():
    assert ask_until_full(Budget(None, None)) == 10_000


def test_limits_that_cannot_be_held_are_refused():
    with pytest.raises(UserError, match="money cannot be counted without prices"):
        Budget({"usd": 5}, None)
    with pytest.raises(UserError, match="dollars"):
        Budget({"dollars": 5}, PRICES)


def planned(what, count, first=0):
    return [PricedRequest(f"{what}{n}", 297, 1, what) for n in range(first, first + count)]


def test_the_estimate_says_what_is_asked_again():
    plan = planned("alignment", 960) + planned("coherence", 960)
    random.Random(0).shuffle(plan)
    done = {request.key for request in planned("coherence", 960) + planned("alignment", 480)}
    words = estimate(sorted(plan, key=lambda request: request.what), done, PRICES)
    # 297 / 3 + 1 = 100 tokens a prompt; 48,000 x 2.5 / 1e6 + 480 x 10 / 1e6 = 0.1248 USD
    assert words == (
        "alignment: 480 of 960 requests, coherence: 0 of 960 requests; in all 480 requests, "
        "at most about 48,000 + 480 tokens, about 0.12 USD"
    )


def test_the_estimate_of_nothing_and_without_prices():
    plan = planned("alignment", 5)
    assert estimate(plan, {request.key for request in plan}, PRICES) == (
        "nothing to ask: all 5 requests are answered"
    )
    assert estimate(plan + plan, set(), None).endswith(
        "in all 5 requests, at most about 500 + 5 tokens, "
        "cost unknown (the judge's entry has no prices)"
    )
    assert "less than 0.01 USD" in estimate(plan, set(), PRICES)
