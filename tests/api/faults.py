"""Faults of endpoints: each spoils one answer on its way back to the client.

A fault is given the request and `forward`, which asks the real endpoint. Faults that come before
the work (429, 500, 503) do not forward.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

Forward = Callable[[], Awaitable[dict]]


def error(status: int, message: str, code: str | None = None, **headers: str) -> web.Response:
    """An error in the words of OpenAI and vLLM."""
    body = {"error": {"message": message, "type": "error", "param": None, "code": code}}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.json_response(body, status=status, headers=names)


async def too_many(request: web.Request, forward: Forward) -> web.StreamResponse:
    return error(429, "Rate limit reached", "rate_limit_exceeded")


async def too_many_with_retry_after(request: web.Request, forward: Forward) -> web.StreamResponse:
    return error(429, "Rate limit reached", "rate_limit_exceeded", Retry_After="0.3")


async def internal_error(request: web.Request, forward: Forward) -> web.StreamResponse:
    return error(500, "The server had an error")


async def overloaded(request: web.Request, forward: Forward) -> web.StreamResponse:
    return web.Response(status=503, text="<html>503 Service Unavailable</html>")


async def time_out(request: web.Request, forward: Forward) -> web.StreamResponse:
    """Say nothing until the client gives up."""
    await forward()
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(0.05)
    return web.Response(status=504)


async def cut_in_the_body(request: web.Request, forward: Forward) -> web.StreamResponse:
    data = json.dumps(await forward()).encode()
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(data)
    await response.prepare(request)
    await response.write(data[: len(data) // 2])
    if request.transport is not None:
        request.transport.abort()  # bytes already sent still arrive
    return response


async def garbage(request: web.Request, forward: Forward) -> web.StreamResponse:
    return web.Response(body=b"\xff\xfe\x00not json at all", content_type="application/json")


async def truncated_json(request: web.Request, forward: Forward) -> web.StreamResponse:
    data = json.dumps(await forward()).encode()
    return web.Response(body=data[: len(data) * 2 // 3], content_type="application/json")


async def wrong_json(request: web.Request, forward: Forward) -> web.StreamResponse:
    return web.json_response([{"score": 100}])


async def error_in_good_status(request: web.Request, forward: Forward) -> web.StreamResponse:
    return web.json_response({"error": {"message": "upstream is busy", "code": 502}})


async def no_choices(request: web.Request, forward: Forward) -> web.StreamResponse:
    return web.json_response({**await forward(), "choices": []})


async def no_logprobs(request: web.Request, forward: Forward) -> web.StreamResponse:
    data = await forward()
    for choice in data["choices"]:
        choice["logprobs"] = None
    return web.json_response(data)


async def wrong_model(request: web.Request, forward: Forward) -> web.StreamResponse:
    return web.json_response({**await forward(), "model": "some-other-model"})


async def refusal(request: web.Request, forward: Forward) -> web.StreamResponse:
    """A well-formed answer that declines. It is an answer and must not be requested again."""
    data = await forward()
    for choice in data["choices"]:
        choice["message"] |= {"content": None, "refusal": "I can't help with that."}
        choice["logprobs"] = None
    return web.json_response(data)


async def content_filter(request: web.Request, forward: Forward) -> web.StreamResponse:
    """In the words of Azure. It is an answer and must not be requested again."""
    return error(400, "The response was filtered", "content_filter")


# After each of these, the request is repeated or ends as an api_error.
TRANSIENT = {
    "too_many": too_many,
    "too_many_with_retry_after": too_many_with_retry_after,
    "internal_error": internal_error,
    "overloaded": overloaded,
    "time_out": time_out,
    "cut_in_the_body": cut_in_the_body,
    "garbage": garbage,
    "truncated_json": truncated_json,
    "wrong_json": wrong_json,
    "error_in_good_status": error_in_good_status,
    "no_choices": no_choices,
    "no_logprobs": no_logprobs,
    "wrong_model": wrong_model,
}
# These are verdicts of their own.
FINAL = {"refusal": refusal, "content_filter": content_filter}
FAULTS = TRANSIENT | FINAL
