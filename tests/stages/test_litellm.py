"""The recipe for a LiteLLM proxy, as it is printed in the documentation, with the real proxy.

The proxy translates to the interface of Amazon Bedrock, which a server on loopback speaks here.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from api.loopback import serve
from api.study import arguments
from configurations import demo, load, put
from em_tiers.errors import UserError
from em_tiers.study.judges import judge_identity, judge_params, judge_rubrics
from em_tiers.tables import read_table
from judge_api import main
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.heavy]
ROOT = Path(__file__).parents[2]
DOCUMENTED = (ROOT / "docs" / "litellm.md").read_text(encoding="utf-8")
KEY = "sk-of-the-proxy"


def block(title):
    """A block of code of the documentation, by its title."""
    found = re.search(rf'```\w+ title="{re.escape(title)}"\n(.*?)```', DOCUMENTED, re.DOTALL)
    return found[1]


@pytest.fixture(scope="module")
def command(tmp_path_factory):
    """The litellm on the PATH, or that of the documented version in a new environment."""
    if found := shutil.which("litellm"):
        return found
    folder = tmp_path_factory.mktemp("litellm")
    wanted = re.search(r'pip install "(litellm\[proxy\]==[\d.]+)"', DOCUMENTED)[1]
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    done = subprocess.run(
        [folder / "bin" / "pip", "install", "-q", wanted], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"{wanted} cannot be installed here: {done.stderr[-300:]}")
    return str(folder / "bin" / "litellm")


class Bedrock:
    """Converse, as Amazon documents it; `faults` are answers by the number of the request."""

    def __init__(self, faults=None):
        self.faults = faults or {}
        self.bodies = []

    async def converse(self, request):
        body = await request.json()
        self.bodies.append(body)
        if fault := self.faults.get(len(self.bodies)):
            status, data = fault
            return web.json_response(data, status=status)
        [tool] = body["toolConfig"]["tools"]
        asked = tool["toolSpec"]["inputSchema"]["json"]["properties"]
        use = {
            "toolUseId": "t",
            "name": tool["toolSpec"]["name"],
            "input": dict.fromkeys(asked, 85),
        }
        return web.json_response(answer([{"toolUse": use}], "tool_use"))

    def app(self):
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/model/{model}/converse", self.converse)
        return app


def answer(content, reason):
    usage = {"inputTokens": 100, "outputTokens": 5, "totalTokens": 105}
    message = {"role": "assistant", "content": content}
    return {"output": {"message": message}, "stopReason": reason, "usage": usage}


@pytest.fixture
def judge(command, checkout, tmp_path, monkeypatch):
    """Judges answers through the proxy; the function's arguments are those of `arguments`."""
    entry = yaml.safe_load(block("mine/bedrock-judge.yaml"))
    (tmp_path / "judges.yaml").write_text(yaml.safe_dump(entry))
    config = put(demo(), "catalogues", {"judges": [str(tmp_path / "judges.yaml")]})
    study = load(checkout, put(config, "judges", list(entry)))
    (name,) = entry
    (tmp_path / "litellm.yaml").write_text(block("litellm.yaml"))
    monkeypatch.setenv("LITELLM_MASTER_KEY", KEY)
    port = free_port()

    def run(bedrock, **changes):
        with serve(bedrock.app()) as provider:
            own = {
                "AWS_ACCESS_KEY_ID": "a",
                "AWS_SECRET_ACCESS_KEY": "b",
                "AWS_BEDROCK_RUNTIME_ENDPOINT": provider,
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            }
            started = [command, "--config", "litellm.yaml", "--host", "127.0.0.1"]
            with (tmp_path / "proxy.log").open("wb") as output:
                process = subprocess.Popen(
                    [*started, "--port", str(port)],
                    cwd=tmp_path,
                    env=os.environ | own,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
                try:
                    ready = f"http://127.0.0.1:{port}/health/liveliness"
                    wait_until(
                        lambda: answers(ready),
                        "proxy",
                        process,
                        tmp_path / "proxy.log",
                        pause_s=0.5,
                    )
                    given = arguments(
                        tmp_path,
                        f"http://127.0.0.1:{port}/v1",
                        {"base": 12},
                        rubrics=judge_rubrics(study, name),
                        judge=judge_params(study, name),
                        model_identity=judge_identity(study, name),
                    )
                    endpoint = study.judges[name]["endpoint"]
                    given["endpoint"] = endpoint | {"base_url": given["endpoint"]["base_url"]}
                    given["endpoint"] |= {"concurrency": 1, **changes}
                    main(**given)
                finally:
                    process.terminate()
                    process.wait(60)
        return read_table(given["verdicts"], "verdicts")

    return run


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=10):
            return True
    except OSError:
        return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


FAULTS = {
    2: (400, {"message": "Input is too long for requested model."}),
    3: (200, answer([{"text": "Sorry, I cannot."}], "guardrail_intervened")),
    4: (400, {"message": "Output blocked by content filtering policy"}),
    5: (429, {"message": "Too many requests, please wait before trying again."}),
    6: (503, {"message": "Bedrock is unable to process your request."}),
    7: (200, answer([{"text": "I think it is"}], "max_tokens")),
}


def test_the_documented_proxy_gives_verdicts_and_names_every_refusal(judge):
    bedrock = Bedrock(FAULTS)
    verdicts = judge(bedrock)
    statuses = Counter(verdicts.unique("verdict_key")["status"])
    assert statuses == {"ok": 8, "judge_refusal": 2, "truncated": 2}
    assert set(verdicts["score"].drop_nulls()) == {85.0}
    assert len(bedrock.bodies) == 12 + 2  # what failed in passing was sent once more by us alone
    [body, *_] = bedrock.bodies
    assert "seed" not in json.dumps(body)
    assert set(verdicts["served_model"]) == {"claude-3-5-sonnet-20241022"}


def test_a_right_that_is_missing_at_the_provider_is_named(judge):
    denied = {"message": "You don't have access to the model with the specified model ID."}
    bedrock = Bedrock(dict.fromkeys(range(1, 100), (403, denied)))
    with pytest.raises(UserError, match="You don't have access to the model"):
        judge(bedrock, max_attempts=1)
    assert len(bedrock.bodies) <= 10
