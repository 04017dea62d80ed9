"""Plan, status, run and report agree on requests that failed on the way.

An endpoint fails some requests in all their attempts and is well again in the next run. The tests
share a folder and run in the order of the file.
"""

import re

import polars as pl
import pytest
from aiohttp import web

from api.faults import error
from api.loopback import serve
from api.recorded import GOOD, Loopback
from api.study import KEY_ENV
from workdir import Workdir, copy_workflow

pytestmark = pytest.mark.e2e

TABLES = ["results/api-judge/tables/headline.csv", "results/api-judge/overview.html"]
ALL = 24  # requests: twelve answers, two rubrics
FAILED = 3


class Endpoint(Loopback):
    """While it is ill, three of the prompts get an HTTP 500 at every attempt."""

    def __init__(self):
        super().__init__()
        self.ill = True
        self.prompts = {}

    async def handle(self, request):
        body = await request.json()
        self.bodies.append(body)
        number = self.prompts.setdefault(str(body["messages"]), len(self.prompts))
        if self.ill and 10 <= number < 10 + FAILED:
            return error(500, "Overloaded")
        return web.json_response(GOOD | {"model": body["model"]})

    def app(self):
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self.handle)
        return app


@pytest.fixture(scope="module")
def endpoint():
    return Endpoint()


@pytest.fixture(scope="module")
def work(tmp_path_factory, endpoint):
    folder = tmp_path_factory.mktemp("passing")
    checkout = copy_workflow(tmp_path_factory.mktemp("checkout"))
    work = Workdir(folder, "api_judge", folder, checkout)
    work.environment[KEY_ENV] = "sk-some-key"
    with serve(endpoint.app()) as address:
        judges = work.read("catalogue/judges.yaml")
        judges["behind-an-api"]["endpoint"] |= {"base_url": f"{address}/v1", "max_attempts": 1}
        work.write("catalogue/judges.yaml", judges)
        yield work


def planned(work: Workdir) -> int:
    """Requests that the plan announces."""
    output = work.run("plan_requests").output
    return sum(int(n.replace(",", "")) for n in re.findall(r"in all ([\d,]+) requests", output))


def status(work: Workdir) -> str:
    """What the status says of the judge."""
    return re.search(r"^judge behind-an-api: .*\n(  .*\n)*", work.run("show_status").output, re.M)[
        0
    ]


def warned(work: Workdir) -> int:
    """Answers without a score, of which the headline table and the first page warn alike."""
    table = pl.read_csv(work.folder / TABLES[0])
    lost = table["api_errors"].sum()
    words = f"{lost} of the answers behind these rates have no score"
    assert (words in (work.folder / TABLES[1]).read_text()) == bool(lost)
    for count, warning in table.select("api_errors", "warning").iter_rows():
        said = f"{count} answers have no score, because requests to the judge failed"
        assert (said in (warning or "")) == bool(count)
    return lost


def test_failures_leave_results_that_warn_and_are_not_complete(work, endpoint):
    done = work.run(*TABLES)
    assert len(endpoint.bodies) == ALL
    assert f"{FAILED} of {ALL} verdicts are missing" in done.output
    assert 1 <= warned(work) <= FAILED
    assert planned(work) == FAILED
    said = status(work)  # it counts the requests of variants that are not done
    assert re.search(rf" of [\d,]+ requests done, {FAILED} left", said)
    assert f"api_error {FAILED} (api_error: asked again by the next run)" in said


def test_accepted_failures_are_left_and_still_warned_of(work, endpoint):
    work.config["accept_api_errors"] = True
    assert planned(work) == 0
    assert "judge behind-an-api: 2 of 2 variants done" in status(work)
    assert not work.run(*TABLES).jobs
    assert len(endpoint.bodies) == ALL
    assert warned(work)
    work.config["accept_api_errors"] = False


def test_they_are_asked_again_while_they_fail(work, endpoint):
    done = work.run(*TABLES)
    assert f"{FAILED} verdicts are missing" in done.output  # said when the run starts
    assert done.jobs["judge_api"] == 1
    assert len(endpoint.bodies) == ALL + FAILED


def test_the_next_run_asks_them_and_completes_the_results(work, endpoint):
    endpoint.ill = False
    work.run(*TABLES)
    assert len(endpoint.bodies) == ALL + 2 * FAILED
    assert warned(work) == 0
    assert planned(work) == 0
    assert "judge behind-an-api: 2 of 2 variants done" in status(work)
    assert not work.run(*TABLES).jobs


def test_damaged_tables_are_named_and_made_again(work, endpoint):
    asked = len(endpoint.bodies)
    before = (work.folder / TABLES[0]).read_text()
    damage = {
        "responses/import.before.parquet": lambda data: data[: len(data) // 2],
        "verdicts/behind-an-api/1-of-1.parquet": lambda data: b"",
        "outcomes/behind-an-api.parquet": lambda data: bytes(len(data)),
    }
    for name, change in damage.items():
        path = work.results / name
        path.write_bytes(change(path.read_bytes()))
    stopped = work.run(*TABLES, check=False)
    assert stopped.status
    for name in damage:
        assert f"results/api-judge/{name}: this table was damaged and is removed" in stopped.output
    assert "Traceback" not in stopped.output
    work.run(*TABLES)
    assert (work.folder / TABLES[0]).read_text() == before
    assert len(endpoint.bodies) == asked
