"""A key goes to the endpoint and nowhere else: the workflow is run and then searched for it."""

import base64
import io
import zipfile

import polars as pl
import pytest
from aiohttp import web

from api.faults import error
from api.proxy import faulty
from api.server import serve_model
from api.study import KEY_ENV, MODEL
from workdir import Workdir

pytestmark = [pytest.mark.heavy, pytest.mark.e2e]
KEY = "sk-canary-Zq7w0Xh3Lr9v"


async def key_in_an_error(request: web.Request, forward) -> web.StreamResponse:
    """An endpoint that repeats what it was sent, as some do in their error messages."""
    return error(400, f"cannot use context {request.headers['Authorization']}")


async def key_in_a_retry(request: web.Request, forward) -> web.StreamResponse:
    return error(500, f"failed with {request.headers['Authorization']}")


@pytest.fixture(scope="module")
def run(embedded_model, whole_number_model, tmp_path_factory):
    """The whole workflow with the key in its environment; yields its folder and its output."""
    work = Workdir(tmp_path_factory.mktemp("keys"), "api_judge", embedded_model)
    faults = {"key_in_an_error": key_in_an_error, "key_in_a_retry": key_in_a_retry}
    log = tmp_path_factory.mktemp("server") / "server.log"
    with (
        serve_model(whole_number_model, MODEL, log, KEY) as upstream,
        faulty(upstream, faults, every=5) as (proxy, base_url),
        pytest.MonkeyPatch.context() as patch,
    ):
        judges = work.read("catalogue/judges.yaml")
        judges["behind-an-api"]["endpoint"]["base_url"] = base_url
        work.write("catalogue/judges.yaml", judges)

        # The archive's run would otherwise ask for what failed.
        work.config["accept_api_errors"] = True
        patch.setenv(KEY_ENV, KEY)
        done = work.run("--verbose", "--show-failed-logs")
        packed = work.run("archive", "--verbose")
        report = work.run("--report", "report.zip")
        yield work, proxy, done.output + packed.output + report.output


def test_the_workflow_ran_and_the_endpoint_repeated_the_key(run):
    work, proxy, _ = run
    verdicts = pl.read_parquet(work.results / "verdicts" / "behind-an-api" / "*.parquet")
    assert verdicts.height == 24
    assert proxy.injected["key_in_an_error"] >= 2
    failed = verdicts.filter(pl.col("status") == "api_error")["raw_text"].to_list()
    assert "HTTP 400: cannot use context Bearer [key]" in failed


def test_the_key_stands_in_no_file_and_no_output(run):
    work, _, output = run
    files = [path for path in work.folder.rglob("*") if path.is_file()]
    kinds = {path.suffix for path in files}
    assert {".parquet", ".jsonl", ".log", ".yaml", ".zip", ".csv", ".svg"} <= kinds
    assert any(".snakemake" in path.parts for path in files)
    assert {"report.zip", "api-judge.archive.zip"} <= {path.name for path in files}
    forms = [KEY.encode(), base64.b64encode(KEY.encode())[:-2], KEY.encode("utf-16-le")]
    found = [str(p) for p in files if any(form in contents(p) for form in forms)]
    assert not found
    assert KEY not in output


def contents(path) -> bytes:
    """The bytes of a file, and of the files packed in it."""
    data = unpacked(path.name, path.read_bytes())
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            for name in packed.namelist():
                data += unpacked(name, packed.read(name))
    return data


def unpacked(name: str, data: bytes) -> bytes:
    """The bytes, and the values of a table, which are compressed in its file."""
    if not name.endswith(".parquet"):
        return data
    return data + pl.read_parquet(io.BytesIO(data)).write_json().encode()


def test_the_search_finds_a_key_where_one_is(tmp_path):
    pl.DataFrame({"a": [[f"x{KEY}y"]]}).write_parquet(tmp_path / "a.parquet", compression="zstd")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(tmp_path / "a.parquet", "a.parquet")
    assert KEY.encode() in contents(tmp_path / "a.parquet")
    assert KEY.encode() in contents(tmp_path / "a.zip")
