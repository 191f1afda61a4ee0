"""Answer questions over HTTP: each customer has a budget, and Prometheus scrapes the application itself.

Run it from the root of a checkout: `uvicorn examples.fastapi.app:app`, and ask with
`curl -H 'X-Customer: acme' 'localhost:8000/answer?question=why'`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse

from toolweaver_monitor import Budget, BudgetExceeded, monitored, setup, tagged

log = logging.getLogger(__name__)
monitor = setup(budget=Budget(limit_usd=0.05, per="hour", tag="customer"))


@monitored("answer", cost=0.02)
async def answer(question: str) -> str:
    """Stand for a call of a model."""
    await asyncio.sleep(0.01)
    return f"an answer to {question!r}"


@monitored("stream_answer", cost=lambda _: 0.001)
async def stream_answer(question: str) -> AsyncIterator[str]:
    """Stand for the stream of a model, in which each word costs $0.001."""
    for word in ("an", "answer", "to", question):
        await asyncio.sleep(0.01)
        yield word + " "


@monitored("notify")
async def notify(question: str) -> None:
    """Stand for a message to somebody, sent after the response."""
    await asyncio.sleep(0.01)
    log.info("answered %r", question)


async def for_customer(x_customer: Annotated[str, Header()] = "nobody") -> AsyncIterator[None]:
    """Tag every call of the request. The dependency must be `async`: a plain one runs in a context of its own."""
    with tagged(customer=x_customer):
        yield


app = FastAPI(dependencies=[Depends(for_customer)])
app.mount("/metrics", monitor.asgi())


@app.exception_handler(BudgetExceeded)
async def refuse(_: Request, refusal: BudgetExceeded) -> JSONResponse:
    """Answer 429, and say when there is room again."""
    wait_s = refusal.frees_in_s
    headers = {} if wait_s is None else {"Retry-After": str(math.ceil(wait_s))}
    return JSONResponse({"detail": "your budget is spent"}, status_code=429, headers=headers)


@app.get("/answer")
async def get_answer(question: str, tasks: BackgroundTasks) -> dict[str, str]:
    """Answer at once, and notify somebody afterwards."""
    text = await answer(question)
    tasks.add_task(notify, question)
    return {"answer": text}


@app.get("/stream")
async def get_stream(question: str) -> StreamingResponse:
    """Answer word by word."""
    return StreamingResponse(stream_answer(question), media_type="text/plain")


@app.get("/costs")
def get_costs() -> dict[str, float]:
    """Return the dollars of each customer, as this worker knows them."""
    return {customer: spent["cost_usd"] for customer, spent in monitor.costs.by_tag("customer").items()}
