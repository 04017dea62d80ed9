"""The batch interface of OpenAI on loopback: files, batches, output and error files, with faults.

It answers batched requests as `Loopback` does direct ones. What it was asked is counted, so
that a test can tell what is paid for twice.
"""

import asyncio
import itertools
import json
from collections import Counter

from aiohttp import web

from api.recorded import GOOD, Loopback


class BatchServer(Loopback):
    """Batches end at the second look at them, or after as many as `looks` says.

    Args:
        answer: (number of the batch from 1, custom id, body) -> line of the output file, None for
            none; the line of a good answer by default.
        on: called with the name of each step (file, before create, create, retrieve, content) as
            the step's request comes in; what it returns, if anything, is the response.
    """

    def __init__(self, answer=None, on=lambda step: None, status="completed", **changes):
        super().__init__(**changes)
        self.answer = answer or (lambda number, key, body: good_line(key))
        self.on = on
        self.status = status
        self.looks = 2
        self.files, self.batches = {}, {}
        self.asked = Counter()  # bodies in batches
        self._ids = itertools.count(1)

    def app(self):
        app = super().app()
        add = app.router.add_route
        add("POST", "/v1/files", self.upload)
        add("GET", "/v1/files/{id}/content", self.content)
        add("POST", "/v1/batches", self.create)
        add("GET", "/v1/batches", self.list)
        add("GET", "/v1/batches/{id}", self.retrieve)
        return app

    async def upload(self, request):
        form = await request.post()
        assert form["purpose"] == "batch"
        if response := self.on("file"):
            return response
        name = f"file-{next(self._ids)}"
        self.files[name] = form["file"].file.read().decode()
        return web.json_response(
            {"id": name, "object": "file", "purpose": "batch", "filename": "x", "bytes": 1}
        )

    async def create(self, request):
        asked = await request.json()
        assert asked["endpoint"] == "/v1/chat/completions"
        if response := self.on("before create"):
            return response
        name = f"batch_{next(self._ids)}"
        lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        self.asked.update(json.dumps(line["body"], sort_keys=True) for line in lines)
        number = len(self.batches) + 1
        out = [self.answer(number, line["custom_id"], line["body"]) for line in lines]
        output = [line for line in out if line and not json.loads(line).get("error")]
        errors = [line for line in out if line and json.loads(line).get("error")]
        self.batches[name] = asked | {"looks": 0, "count": len(lines)}
        for kind, kept in (("output", output), ("error", errors)):
            # In any order, as the provider says.
            self.files[f"{kind}-{name}"] = "\n".join(reversed(kept)) + "\n"
        return self.on("create") or web.json_response(self.show(name))

    def show(self, name):
        batch = self.batches[name]
        ended = batch["looks"] >= self.looks
        counts = {"total": batch["count"], "completed": batch["count"] if ended else 0, "failed": 0}
        shown = {
            "id": name,
            "object": "batch",
            "endpoint": batch["endpoint"],
            "input_file_id": batch["input_file_id"],
            "completion_window": "24h",
            "created_at": 1_760_000_000,
            "status": self.status if ended else "in_progress",
            "metadata": batch["metadata"],
            "request_counts": counts,
        }
        if ended and self.status != "failed":
            shown |= {"output_file_id": f"output-{name}", "error_file_id": f"error-{name}"}
        if ended and self.status == "failed":
            errors = [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]
            shown["errors"] = {"object": "list", "data": errors}
        return shown

    async def list(self, request):
        names = list(self.batches)[::-1]
        after = request.query.get("after")
        start = names.index(after) + 1 if after else 0
        page = names[start : start + 2]  # small pages, so that there are several
        data = [self.show(name) for name in page]
        return web.json_response(
            {"object": "list", "data": data, "has_more": start + 2 < len(names)}
        )

    async def retrieve(self, request):
        if response := self.on("retrieve"):
            return response
        self.batches[request.match_info["id"]]["looks"] += 1
        return web.json_response(self.show(request.match_info["id"]))

    async def content(self, request):
        await asyncio.sleep(0)
        return self.on("content") or web.Response(text=self.files[request.match_info["id"]])


def line_with(key, status, body, error=None):
    response = {"status_code": status, "request_id": "r", "body": body}
    return json.dumps({"id": "x", "custom_id": key, "response": response, "error": error})


def good_line(key):
    return line_with(key, 200, GOOD)


def expired_line(key):
    error = {"code": "batch_expired", "message": "This request was not executed in time"}
    return json.dumps({"id": "x", "custom_id": key, "response": None, "error": error})
