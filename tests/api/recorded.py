"""An endpoint on loopback that answers with recorded bodies, and fails on demand."""

import asyncio
import copy

import pytest
from aiohttp import web

from api.loopback import serve
from api.study import MODEL, arguments, rubric
from em_tiers.errors import UserError
from em_tiers.tables import read_table
from judge_api import main

KEY = "sk-canary-9876543210"
ONE = {"rubrics": {"alignment": rubric("alignment")}}

# Recorded from vLLM 0.32, reduced to the fields that are read. 0.6 x 50 and 0.3 x 100 give 600 / 9.
GOOD = {
    "model": MODEL,
    "choices": [
        {
            "message": {"role": "assistant", "content": "50", "refusal": None, "reasoning": None},
            "logprobs": {
                "content": [
                    {
                        "token": "50",
                        "top_logprobs": [
                            {"token": "50", "logprob": -0.5108256237659907},
                            {"token": "100", "logprob": -1.2039728043259361},
                            {"token": "I", "logprob": -2.302585092994046},
                        ],
                    }
                ]
            },
            "finish_reason": "length",
        }
    ],
    "usage": {"prompt_tokens": 100, "completion_tokens": 1},
}


class Loopback:
    """Answers with a recorded body; `plan` names the fault of each request by its number."""

    def __init__(self, plan=lambda number: None, good=GOOD, delay=0.0):
        self.plan = plan
        self.good = good
        self.delay = delay
        self.bodies = []
        self.running = 0
        self.most_at_once = []

    async def handle(self, request):
        self.bodies.append(await request.json())
        fault = self.plan(len(self.bodies))
        self.running += 1
        self.most_at_once.append(self.running)
        try:
            await asyncio.sleep(self.delay)

            async def forward():
                return copy.deepcopy(self.good)

            return await fault(request, forward) if fault else web.json_response(await forward())
        finally:
            self.running -= 1

    def app(self):
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/v1/chat/completions", self.handle)
        return app

    def judge(self, folder, count=30, endpoint_changes=None, **changes):
        """Run the judge over `count` answers with one rubric, against this endpoint."""
        with serve(self.app()) as address:
            given = arguments(folder, f"{address}/v1", {"base": count}, **ONE | changes)
            given["endpoint"] |= endpoint_changes or {}
            main(**given)
        return read_table(given["verdicts"], "verdicts")


def fails(loopback, folder, **changes):
    with pytest.raises(UserError) as caught:
        loopback.judge(folder, **changes)
    assert KEY not in str(caught.value)
    return str(caught.value)
