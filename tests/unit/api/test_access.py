"""Addresses, certificates and keys of endpoints."""

import asyncio
import ssl
import subprocess

import pytest
from aiohttp import web

from api.loopback import serve
from em_tiers.api.client import Endpoint, read_key
from em_tiers.errors import UserError

KEY = "sk-canary-0123456789"
PATIENT = {"timeout_s": 300}  # no good answer takes as long, on any machine


def test_a_certificate_that_is_not_trusted_is_called_that(tmp_path):
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -days 2 -keyout k -out c"
    )
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "c", tmp_path / "k")
    with serve(web.Application(), context) as address:
        settings = {"base_url": f"{address}/v1", **PATIENT}

        async def once():
            async with Endpoint(settings, KEY, "judge") as endpoint:
                await endpoint.ask({"messages": []})

        with pytest.raises(UserError, match="its certificate is not trusted"):
            asyncio.run(once())


@pytest.mark.parametrize(
    "address", ["ftp://host/v1", "host/v1", "http:///v1", "https://user:secret@host/v1"]
)
def test_addresses_that_cannot_be_used(address):
    with pytest.raises(UserError, match="base_url") as caught:
        Endpoint({"base_url": address, **PATIENT}, KEY, "judge")
    assert "secret" not in str(caught.value)


def test_keys_come_from_the_named_variable(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    assert read_key("JUDGE_KEY", "judge strict") == KEY
    assert read_key("", "strict") == "-"
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(UserError, match=r"judge strict: JUDGE_KEY: .* not set"):
        read_key("JUDGE_KEY", "judge strict")
    monkeypatch.setenv("JUDGE_KEY", f"{KEY}\n{KEY}")
    with pytest.raises(UserError, match="blanks") as caught:
        read_key("JUDGE_KEY", "judge strict")
    assert KEY not in str(caught.value)
