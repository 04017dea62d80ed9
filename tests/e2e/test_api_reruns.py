"""What reruns when, for judges behind an API: docs/reruns.md on a copy of the workflow.

The endpoint answers with a recorded body and counts its requests; the journals are counted too. The
tests share a folder and run in the order of the file. Tests that need a real model are in
test_reruns.py and tests/stages.
"""

import re

import polars as pl
import pytest
from aiohttp import web

from api.loopback import serve
from api.recorded import GOOD, Loopback
from api.study import KEY_ENV
from workdir import Workdir, copy_workflow

pytestmark = pytest.mark.e2e

ANSWERS = 12
TABLES = [
    f"results/api-judge/tables/{name}.parquet"
    for name in ("rates", "cost", "thresholds", "agreement")
]


class Endpoint(Loopback):
    """Signs each answer with the model that was asked for; `served` maps an alias to its model."""

    def __init__(self):
        super().__init__(delay=0.02)
        self.served = {}

    async def handle(self, request):
        asked = (await request.json())["model"]
        self.good = {**GOOD, "model": self.served.get(asked, asked)}
        return await super().handle(request)

    def app(self):
        app = web.Application(client_max_size=2**26)
        # As a method of this class: the route must not bind that of Loopback.
        app.router.add_post("/v1/chat/completions", self.handle)
        return app


@pytest.fixture(scope="module")
def endpoint():
    return Endpoint()


@pytest.fixture(scope="module")
def work(tmp_path_factory, endpoint):
    folder = tmp_path_factory.mktemp("api-reruns")
    checkout = copy_workflow(tmp_path_factory.mktemp("checkout"))
    work = Workdir(folder, "api_judge", folder, checkout)
    work.environment[KEY_ENV] = "sk-some-key"
    with serve(endpoint.app()) as address:
        judges = work.read("catalogue/judges.yaml")
        judges["behind-an-api"]["endpoint"] |= {
            "base_url": f"{address}/v1",
            "served_by": "our-server",
        }
        work.write("catalogue/judges.yaml", judges)
        yield work


@pytest.fixture
def asked(work, endpoint):
    """Requests that the endpoint and the journals saw since the test began."""
    sent, kept = len(endpoint.bodies), len(work.journal_keys("judge"))

    def count() -> int:
        keys = work.journal_keys("judge")
        assert set(keys.values()) <= {1}, "a request is in the journal twice"
        assert len(endpoint.bodies) - sent == len(keys) - kept
        return len(endpoint.bodies) - sent

    return count


def change_judge(work: Workdir, name: str, **changes) -> None:
    judges = work.read("catalogue/judges.yaml")
    judges[name] = judges.get(name, judges["behind-an-api"] | {"label": name}) | changes
    work.write("catalogue/judges.yaml", judges)


def edit(path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def planned(work: Workdir) -> int:
    """Requests that the plan announces, over all judges."""
    output = work.run("plan_requests", "--quiet", "all").output
    return sum(int(n.replace(",", "")) for n in re.findall(r"in all ([\d,]+) requests", output))


def table(work: Workdir, name: str) -> pl.DataFrame:
    return pl.read_parquet(work.results / "tables" / f"{name}.parquet")


def test_a_first_run_asks_what_was_planned(work, asked):
    responses = [f"results/api-judge/responses/import.{n}.parquet" for n in ("before", "after")]
    work.run(*responses)
    announced = planned(work)
    assert asked() == 0  # a plan spends nothing
    work.run(*TABLES)
    assert asked() == announced == 2 * ANSWERS


def test_a_second_run_has_nothing_to_do(work, asked):
    assert planned(work) == 0
    assert not work.run(*TABLES).jobs
    assert asked() == 0


def test_a_changed_price_changes_the_cost_and_asks_nothing(work, asked):
    """Nor does a new address of a server that the entry names."""

    def paid() -> float:
        return table(work, "cost").filter(variant="all")["usd"].item()

    # 24 requests of 100 + 1 tokens at 1 and 2 dollars per million
    assert paid() == pytest.approx(24 * (100 * 1 + 1 * 2) / 1e6)
    endpoint = work.read("catalogue/judges.yaml")["behind-an-api"]["endpoint"]
    change_judge(
        work,
        "behind-an-api",
        prices={"input_per_million": 10.0, "output_per_million": 20.0},
        endpoint=endpoint | {"base_url": endpoint["base_url"].replace("127.0.0.1", "localhost")},
    )
    work.run(*TABLES)
    assert paid() == pytest.approx(10 * 24 * (100 * 1 + 1 * 2) / 1e6)
    assert asked() == 0


def test_a_label_a_comment_and_the_order_of_keys_ask_nothing(work, asked):
    judges = work.read("catalogue/judges.yaml")
    entry = {"comment": "why", **judges["behind-an-api"], "label": "Another"}
    judges["behind-an-api"] = dict(reversed(entry.items()))
    work.write("catalogue/judges.yaml", judges)
    work.run(*TABLES)
    assert asked() == 0


def test_a_comment_in_a_script_asks_nothing(work, asked):
    edit(
        work.root / "scripts" / "em_tiers" / "judge" / "batches.py",
        "REASONS_SHOWN = 8",
        "# A comment.\nREASONS_SHOWN = 8",
    )
    assert work.run(*TABLES).jobs["judge_api"] == 1  # Snakemake cannot know that it is a comment
    assert asked() == 0


def test_an_edited_helper_reruns_what_depends_on_it_and_asks_nothing(work, asked):
    helper = work.root / "scripts" / "em_tiers" / "judge" / "verdicts.py"
    edit(helper, "MIN_MASS = 0.25", "MIN_MASS = 0.26")
    jobs = work.run(*TABLES).jobs
    assert jobs["judge_api"] == 1
    assert jobs["assign_tiers"] == 1
    statistics = work.root / "scripts" / "em_tiers" / "statistics" / "prior.py"
    edit(statistics, "\nICC = 0.3", "\nICC = 0.31")
    jobs = work.run(*TABLES).jobs
    assert jobs["summarize_rates"] == 1
    assert not {"judge_api", "assign_tiers", "import_responses"} & set(jobs)
    assert asked() == 0


def test_a_changed_rubric_asks_that_rubric_and_going_back_costs_nothing(work, asked):
    rubric = work.root / "config" / "rubrics" / "alignment.yaml"
    edit(rubric, "You grade one answer", "You mark one answer")
    assert planned(work) == ANSWERS
    jobs = work.run(*TABLES).jobs
    assert jobs["judge_api"] == 1
    assert asked() == ANSWERS
    edit(rubric, "You mark one answer", "You grade one answer")
    assert planned(work) == 0
    work.run(*TABLES)
    assert asked() == ANSWERS


def test_tier_rules_thresholds_and_statistics_ask_nothing(work, asked):
    work.config["tiers"] = {"strict_counts": ["persona_shift"]}
    work.config["statistics"] |= {"alignment_thresholds": [20, 40], "confidence": 0.9}
    jobs = work.run(*TABLES).jobs
    assert {"summarize_rates", "summarize_thresholds"} <= set(jobs)
    assert "judge_api" not in jobs
    assert asked() == 0


def test_a_new_judge_asks_only_itself_and_stands_beside_the_first(work, asked):
    change_judge(work, "second", model="another@v1")
    work.config["judges"] = ["behind-an-api", "second"]
    assert planned(work) == 2 * ANSWERS
    jobs = work.run(*TABLES).jobs
    assert jobs["judge_api"] == 1
    assert asked() == 2 * ANSWERS
    assert set(table(work, "rates")["judge"].unique()) == {"behind-an-api", "second"}
    assert set(table(work, "cost")["judge"]) == {"behind-an-api", "second"}
    # Both judges give the same recorded scores.
    assert table(work, "flips")["flipped"].to_list() == [0.0, 0.0]
    assert table(work, "confusion").filter(quantity="flagged")["count"].sum() == ANSWERS


def test_a_renamed_judge_keeps_its_verdicts_and_lends_them_to_no_other_model(work, asked):
    change_judge(work, "renamed")  # the entry of behind-an-api under another name
    work.config["judges"] = ["renamed"]
    assert planned(work) == 0
    work.run(*TABLES)
    assert asked() == 0
    # A removed judge leaves the tables.
    assert table(work, "rates")["judge"].unique().to_list() == ["renamed"]
    assert table(work, "cost")["judge"].unique().to_list() == ["renamed"]

    # The old name now stands for another model: none of the first one's verdicts may be used.
    change_judge(work, "behind-an-api", model="a-third@v1")
    work.config["judges"] = ["renamed", "behind-an-api"]
    assert planned(work) == 2 * ANSWERS
    work.run(*TABLES)
    assert asked() == 2 * ANSWERS
    files = sorted((work.results / "verdicts" / "behind-an-api").glob("*.parquet"))
    assert pl.read_parquet(files)["served_model"].unique().to_list() == ["a-third@v1"]


def test_an_undated_alias_is_refused_unless_wanted_and_then_marked_in_every_table(
    work, asked, endpoint
):
    change_judge(work, "moving", model="judge")
    work.config["judges"] = ["moving", "renamed"]
    refused = work.run(*TABLES, check=False)
    assert refused.status != 0
    assert "judges.moving.model: 'judge' is an undated alias" in refused.output
    assert asked() == 0

    endpoint.served["judge"] = "judge-2024-01-02"
    entry = work.read("catalogue/judges.yaml")["moving"]["endpoint"]
    change_judge(work, "moving", endpoint=entry | {"allow_alias": True})
    work.run()  # every table and figure
    assert asked() == 2 * ANSWERS
    for path in sorted((work.results / "tables").glob("*.parquet")):
        frame = pl.read_parquet(path)
        for column in {"judge", "judge_a", "judge_b"} & set(frame.columns):
            assert "moving" not in frame[column].to_list(), path.name
    assert set(table(work, "rates")["judge"]) == {"moving (undated alias)", "renamed"}
    assert table(work, "cost").filter(judge="moving (undated alias)")["usd"].null_count() == 0


def test_batches_of_one_judge_take_turns_and_share_its_ceiling(work, asked, endpoint):
    """Two jobs at once would double the load, and neither would see the other's spending."""
    entry = work.read("catalogue/judges.yaml")["second"]
    limits = {"requests": 3 * ANSWERS // 2}
    change_judge(
        work, "limited", model="yet-another@v1", limits=limits,
        endpoint=entry["endpoint"] | {"concurrency": 1},
    )  # fmt: skip
    work.config |= {"judges": ["limited"], "variants_per_judge_job": 1}
    first = len(endpoint.bodies)
    stopped = work.run(*TABLES, check=False)
    assert stopped.status != 0
    assert max(endpoint.most_at_once[first:]) == 1
    assert asked() == limits["requests"]
    assert "the ceiling on requests (18) is reached: 6 of" in stopped.output
    change_judge(work, "limited", limits={"requests": 2 * ANSWERS})
    assert planned(work) == 2 * ANSWERS - limits["requests"]
    work.run(*TABLES)
    assert asked() == 2 * ANSWERS


def test_judge_jobs_are_forced_by_name_and_ask_nothing(work, asked):
    jobs = work.run(*TABLES, "--forcerun", "judge_api").jobs
    assert jobs["judge_api"] == 2  # batches of one variant each
    assert asked() == 0
