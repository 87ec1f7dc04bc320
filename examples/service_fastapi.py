"""The engine as a web service: what should be said to NLU instead, over HTTP.

    pip install "reprise-rewrite[service]"
    rewrite learn fixtures/log.jsonl --out build/demo
    REPRISE_BUNDLE=build/demo uvicorn --app-dir examples service_fastapi:app
    curl -s localhost:8000/rewrite -H 'content-type: application/json' -d '{"text": "play maj and dragons"}'

POST /rewrite   what to send to NLU for a text, and why
POST /observe   a turn of the log format, as soon as it is known how it went
GET  /health    the process answers
GET  /ready     the bundle is open (200), or why it is not (503)

Bad input is answered with 422. Where anything breaks inside, or the bundle cannot be opened, a query goes through
unchanged with the reason, never with an error; a turn that cannot be taken in is answered with 503. The engine runs on
threads, so that no call holds up another, and follows its bundle: what is learned into it is served without a restart.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dialogue import Context, Nlu, Turn, parse_lines
from rewrite import Action, Decision, Reason, Source
from rewrite.adapters import faulted, open_engine
from rewrite.reloading import ReloadingEngine

logger = logging.getLogger(__name__)

TURN = {
    "turn_id": "t-17",
    "user_id": "u-3",
    "timestamp": "2026-02-25T06:13:20Z",
    "text": "play imagine dragons",
    "response": "Here you are.",
    "signals": {"engaged_s": 90},
}


def _whole(text: str) -> str:
    """JSON may hold half a character, which no answer can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair is in it: whole characters are wanted") from None
    return text


Text = Annotated[str, AfterValidator(_whole)]


class Hypothesis(BaseModel):
    """One text that the recogniser thinks it may have heard."""

    text: Text
    score: float | None = None


class Query(BaseModel):
    """One request, as it was heard or typed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"text": "play maj and dragons"},
                {
                    "text": "what's the weather in wilkerson",
                    "user_id": "u-3",
                    "context": {"device_type": "speaker", "has_screen": False},
                    "nbest": [{"text": "what's the weather in wilkerson", "score": 0.7}, {"text": "weather wilson"}],
                },
            ]
        }
    )

    text: Text
    user_id: Annotated[Text, Field(min_length=1)] | None = None
    context: Context | None = None
    nbest: list[Hypothesis] = []
    asr_confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    nlu: Nlu | None = None


class Other(BaseModel):
    """A candidate that was not served."""

    text: str
    source: Source
    score: float | None


class Answer(BaseModel):
    """Send `text` on where `action` is rewrite or pass; ask the user about it where it is suggest."""

    action: Action
    text: str
    original: str
    reason: Reason
    source: Source
    score: float | None
    margin: float | None
    rewrite_id: str | None
    alternatives: list[Other]
    evidence: dict[str, Any]
    propensity: float
    served: dict[str, Any] | None = Field(description="what to log as `served` with this turn")


class Kept(BaseModel):
    """Whether the turn was taken in, and why not."""

    kept: bool
    why: str | None = None


class Standing(BaseModel):
    """Whether the service rewrites, and why not."""

    ready: bool
    why: str | None = None


class _Absent:
    """In place of an engine that could not be opened: asking it is a fault, so that the query passes."""

    def __init__(self, why: str) -> None:
        self.why = why

    async def rewrite_async(self, text: str, *_: Any, **__: Any) -> Decision:
        raise RuntimeError(self.why)

    def close(self) -> None: ...


def service(bundle: str, settings: Mapping[str, Any] | None = None) -> FastAPI:
    """The application over the bundle in a folder, which is opened when it starts; `settings` are the engine's."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.engine = engine = await run_in_threadpool(_open, bundle, settings)
        yield
        engine.close()

    app = FastAPI(title="Reprise", summary="What should be said to NLU instead, if anything?", lifespan=lifespan)

    @app.post("/rewrite")
    async def rewrite(query: Query, request: Request) -> Answer:
        """What to send to NLU for a text, and why."""
        decision = await _decided(request.app.state.engine, query)
        return Answer.model_validate({**decision.as_dict(), "served": decision.served})

    @app.post("/observe", status_code=202)
    async def observe(
        record: Annotated[dict[str, Any], Body(examples=[TURN])], request: Request, response: Response
    ) -> Kept:
        """Takes in a turn, so that the user's next request can use it."""
        turn = _turn(record)
        try:
            await run_in_threadpool(request.app.state.engine.observe, turn)
        except Exception as error:
            logger.exception("a turn was not taken in")
            response.status_code = 503
            return Kept(kept=False, why=f"{type(error).__name__}: {error}")
        return Kept(kept=True)

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        """What is wrong, and where; what came is not said again, since it may be no text that can be sent."""
        found = [{name: each[name] for name in ("loc", "msg", "type")} for each in error.errors()]
        return JSONResponse({"detail": found}, 422)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready(request: Request, response: Response) -> Standing:
        """Whether the bundle is open."""
        engine = request.app.state.engine
        if isinstance(engine, _Absent):
            response.status_code = 503
            return Standing(ready=False, why=engine.why)
        return Standing(ready=True)

    return app


def _open(bundle: str, settings: Mapping[str, Any] | None) -> ReloadingEngine | _Absent:
    try:
        return open_engine(bundle, settings)
    except Exception as error:
        logger.error("queries pass unchanged: %s", error)
        return _Absent(str(error))


async def _decided(engine: ReloadingEngine | _Absent, query: Query) -> Decision:
    try:
        more = {
            "nbest": [each.model_dump() for each in query.nbest],
            "asr_confidence": query.asr_confidence,
            "nlu": _known(query.nlu),
        }
        return await engine.rewrite_async(query.text, query.user_id, _known(query.context), **more)
    except Exception as error:
        logger.exception("a query passes unchanged")
        return faulted(query.text, error)


def _known(told: Context | Nlu | None) -> dict[str, Any] | None:
    """What is told, as an object of the log format."""
    return None if told is None else {name: value for name, value in asdict(told).items() if value is not None}


def _turn(record: dict[str, Any]) -> Turn:
    """The record as a turn; 422 where it breaks the log format."""
    parsed = parse_lines([json.dumps(record).encode()], 1, "request")
    if parsed.rejects:
        reject = parsed.rejects[0]
        raise HTTPException(422, f"{reject.reason}: {reject.detail}")
    return parsed.turns[0]


app = service(os.environ.get("REPRISE_BUNDLE", "build/demo"))
