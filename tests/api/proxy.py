"""A proxy in front of a real endpoint that spoils every n-th answer and counts the good ones."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp
from aiohttp import web

from api.faults import FINAL, Forward
from api.loopback import serve
from em_tiers.hashing import hash_of
from waiting import wait_until


def digest(body: Mapping) -> str:
    """A request's identity: its whole body except the model's name."""
    return hash_of({name: value for name, value in body.items() if name != "model"})


class Proxy:
    """The traffic through the proxy.

    Attributes:
        every: each so-manieth request is spoilt, by the faults in turn; 0: none.
        seen: requests that came in.
        injected: fault -> how often.
        asked: `digest` of a request -> how often it came in.
        answered: `digest` of a request -> how many answers were handed to the client whole and
            good, refusals included.
        scored: `digest` of a request -> the endpoint's own answer, where it was handed on.
    """

    def __init__(self, upstream: str, faults: Mapping, every: int):
        self.upstream = upstream
        self.faults = dict(faults)
        self.every = every
        self.seen = 0
        self.injected: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.scored: dict[str, dict] = {}
        self._running = 0
        self._session: aiohttp.ClientSession | None = None

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/{path:.*}", self._handle)
        app.cleanup_ctx.append(self._client)
        return app

    async def _client(self, _: web.Application):
        # No time limit here: only the planned faults spoil an answer.
        options = {
            "connector": aiohttp.TCPConnector(limit=0),
            "timeout": aiohttp.ClientTimeout(total=None),
            "trust_env": False,
        }
        async with aiohttp.ClientSession(**options) as self._session:
            yield

    def wait_until_idle(self) -> None:
        """Wait until every received request is finished, after its client was killed."""
        wait_until(lambda: not self._running, "end of the requests that came in")

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self._running += 1
        try:
            return await self._handle_one(request)
        finally:
            self._running -= 1

    async def _handle_one(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        name_of = digest(json.loads(body))
        self.seen += 1
        self.asked[name_of] += 1
        if self.every and self.seen % self.every == 0:
            names = list(self.faults)
            name = names[(self.seen // self.every - 1) % len(names)]
            self.injected[name] += 1
            response = await self.faults[name](request, self._forward(request, body))
            if name in FINAL:
                self.answered[name_of] += 1
            return response
        status, data = await self._ask(request, body)
        response = web.Response(body=data, status=status, content_type="application/json")
        await response.prepare(request)
        await response.write_eof()
        # Only now is it on its way to the client, whole.
        if status == 200 and request.transport and not request.transport.is_closing():
            self.answered[name_of] += 1
            self.scored[name_of] = json.loads(data)
        return response

    def _forward(self, request: web.Request, body: bytes) -> Forward:
        async def forward() -> dict:
            status, data = await self._ask(request, body)
            if status != 200:
                raise web.HTTPBadGateway(text=data.decode(errors="replace"))
            return json.loads(data)

        return forward

    async def _ask(self, request: web.Request, body: bytes) -> tuple[int, bytes]:
        kept = {
            name: request.headers[name]
            for name in ("Authorization", "Content-Type")
            if name in request.headers
        }
        address = f"{self.upstream}/{request.match_info['path']}"
        async with self._session.post(address, data=body, headers=kept) as answer:
            return answer.status, await answer.read()


@contextmanager
def faulty(upstream: str, faults: Mapping, every: int = 5) -> Iterator[tuple[Proxy, str]]:
    """Put a proxy before `upstream` (ending in /v1); yields it and its own base URL."""
    proxy = Proxy(upstream, faults, every)
    with serve(proxy.app()) as address:
        yield proxy, f"{address}/v1"
