"""Anthropic's messages and message batches on loopback, as its documentation describes them."""

import datetime
import itertools
import json
from collections import Counter

from aiohttp import web

from api.recorded import Loopback
from api.study import MODEL


def message(text="85", reason="end_turn", thoughts=None, **changes):
    parts = [{"type": "text", "text": text}]
    if thoughts:
        parts = [
            {"type": "thinking", "thinking": thoughts, "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            *parts,
        ]
    usage = {"input_tokens": 90, "cache_read_input_tokens": 10, "output_tokens": 1}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": parts,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
        **changes,
    }


def error(status, kind, words):
    return web.json_response(error_body(kind, words), status=status)


def error_body(kind, words):
    return {"type": "error", "error": {"type": kind, "message": words}}


class AnthropicServer(Loopback):
    """Batches end at the second look; `answer` gives a batch's result for (number, key, params)."""

    def __init__(self, answer=None, on=lambda step: None, **changes):
        super().__init__(**{"good": message()} | changes)
        self.answer = answer or (lambda number, key, params: succeeded(self.good))
        self.on = on
        self.batches, self.results = {}, {}
        self.asked = Counter()
        self._ids = itertools.count(1)

    def app(self):
        app = web.Application(client_max_size=2**26)
        add = app.router.add_route
        add("POST", "/v1/messages", self.checked)
        add("POST", "/v1/messages/batches", self.create)
        add("GET", "/v1/messages/batches", self.list)
        add("GET", "/v1/messages/batches/{id}", self.retrieve)
        add("GET", "/v1/messages/batches/{id}/results", self.content)
        return app

    async def checked(self, request):
        assert request.headers["Authorization"].startswith("Bearer ")
        assert request.headers["anthropic-version"]
        if words := mistake(await request.json()):
            self.bodies.append(await request.json())
            return error(400, "invalid_request_error", words)
        return await self.handle(request)

    async def create(self, request):
        asked = (await request.json())["requests"]
        if response := self.on("before create"):
            return response
        name = f"msgbatch_{next(self._ids)}"
        number = len(self.batches) + 1
        results = []
        for each in asked:
            words = mistake(each["params"])
            result = (
                {"type": "errored", "error": error_body("invalid_request_error", words)}
                if words
                else self.answer(number, each["custom_id"], each["params"])
            )
            results.append(json.dumps({"custom_id": each["custom_id"], "result": result}))
        self.asked.update(json.dumps(each["params"], sort_keys=True) for each in asked)
        self.results[name] = "\n".join(reversed(results))
        self.batches[name] = {"looks": 0, "count": len(asked)}
        return self.on("create") or web.json_response(self.show(name))

    def show(self, name):
        batch = self.batches[name]
        ended = batch["looks"] >= 2
        counts = dict.fromkeys(("canceled", "errored", "expired", "processing", "succeeded"), 0)
        counts["succeeded" if ended else "processing"] = batch["count"]
        return {
            "id": name,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts,
            "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
            "results_url": f"http://x/v1/messages/batches/{name}/results" if ended else None,
        }

    async def list(self, request):
        names = list(self.batches)[::-1]
        return web.json_response({"data": [self.show(name) for name in names], "has_more": False})

    async def retrieve(self, request):
        if response := self.on("retrieve"):
            return response
        self.batches[request.match_info["id"]]["looks"] += 1
        return web.json_response(self.show(request.match_info["id"]))

    async def content(self, request):
        return self.on("content") or web.Response(text=self.results[request.match_info["id"]])


def succeeded(body):
    return {"type": "succeeded", "message": body}


def mistake(params):
    """What Anthropic would refuse in a request; None for nothing."""
    allowed = {"model", "messages", "max_tokens", "system", "temperature", "thinking"}
    if unknown := set(params) - allowed - {"output_config"}:
        return f"{sorted(unknown)[0]}: Extra inputs are not permitted"
    if any(m["role"] not in ("user", "assistant") for m in params["messages"]):
        return "messages: Unexpected role"
    if "minimum" in json.dumps(params):
        return "For 'integer' type, property 'minimum' is not supported"
    if thinking := params.get("thinking"):
        if not 1024 <= thinking["budget_tokens"] < params["max_tokens"]:
            return "max_tokens must be greater than thinking.budget_tokens"
        if "temperature" in params:
            return "temperature may only be set to 1 when thinking is enabled"
    return None
