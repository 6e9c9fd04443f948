"""A run as a server that speaks OpenAI's API: /v1/models, /v1/completions, /v1/chat/completions.

A text is written by the compiled decoder, which remembers a state of constant size however long the text becomes; the
states behind prompts are kept, so the next turn of a talk is read from there.
Threads write while the event loop listens; a request holds one of `max_parallel` places and gives it back when it is
written, out of time, or its client gone.
"""

import asyncio
import hmac
import importlib.util
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

from mambrane.app.openai_requests import (
    ApiError,
    Asked,
    Limits,
    choices_of,
    chunk_choice,
    parse_chat,
    parse_completion,
)
from mambrane.core.errors import UserError
from mambrane.measure.prefix_states import PrefixStates
from mambrane.measure.sampling import Sampling
from mambrane.measure.writing import Writing
from mambrane.run.run import Run

SECONDS_A_PIECE = 0.02
"""A stream sends what was written in this time as one piece."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Places:
    """Who is written for now, and who waits."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turn = asyncio.Semaphore(limits.max_parallel)
        self.num_inside = 0
        """Requests that are written or wait."""

    def refuse_if_full(self) -> None:
        """Raise ApiError where no more may wait."""
        if self.num_inside >= self._limits.max_parallel + self._limits.max_waiting:
            raise ApiError(429, "too many requests at once; try again soon", kind="rate_limit_error")

    async def __aenter__(self) -> None:
        self.num_inside += 1
        try:
            await self._turn.acquire()
        except BaseException:
            self.num_inside -= 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self._turn.release()
        self.num_inside -= 1


class Answering:
    """One request, written text by text."""

    def __init__(self, run: Run, asked: Asked, limits: Limits, states: PrefixStates) -> None:
        self._run, self._asked, self._limits, self._states = run, asked, limits, states
        self.num_prompt_tokens = sum(len(run.tokenizer.encode(prompt.encode())) for prompt in asked.prompts)
        self.num_tokens = 0
        self._ends_s = 0.0

    async def pieces(self) -> AsyncIterator[tuple[int, str, str | None]]:
        """Yield number of the text, a piece of it, and, with its last piece, why it ended."""
        self._ends_s = time.monotonic() + self._limits.max_seconds
        for number, prompt in enumerate(self._asked.prompts):
            sampling = Sampling(temperature=self._asked.temperature, top_p=self._asked.top_p)
            seed = secrets.randbits(62) if self._asked.seed is None else self._asked.seed
            writings = self._run.begin(
                prompt,
                sampling,
                num_samples=self._asked.num_samples,
                max_tokens=self._asked.max_tokens,
                seed=seed,
                stop=self._asked.stop,
                states=self._states,
            )
            for sample in range(self._asked.num_samples):
                writing = await asyncio.to_thread(next, writings)
                index = number * self._asked.num_samples + sample
                if self._asked.echo:
                    yield index, prompt, None
                async for piece, reason in self._pieces_of(writing):
                    yield index, piece, reason
                self.num_tokens += writing.num_tokens

    async def _pieces_of(self, writing: Writing) -> AsyncIterator[tuple[str, str | None]]:
        pieces = iter(writing)
        # The space behind "assistant:" belongs to the way a turn is written, not to the answer.
        strips = self._asked.is_chat
        while True:
            text, is_over = await asyncio.to_thread(_written_for_a_while, pieces)
            if strips:
                text = text.lstrip()
                strips = not text
            if is_over:
                yield text, "length" if writing.ended_by == "max_tokens" else "stop"
                return
            if time.monotonic() > self._ends_s:
                yield text, "length"
                return
            if text:
                yield text, None

    def usage(self) -> dict[str, int]:
        """Return the tokens read and written."""
        read, written = self.num_prompt_tokens, self.num_tokens
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _written_for_a_while(pieces: Iterator[str]) -> tuple[str, bool]:
    """Return what is written in a moment, and whether that was the end."""
    until_s, text = time.monotonic() + SECONDS_A_PIECE, ""
    for piece in pieces:
        text += piece
        if time.monotonic() >= until_s:
            return text, False
    return text, True


def build_app(run: Run, *, limits: Limits | None = None, token: str = "", hosts: tuple[str, ...] = LOOPBACK) -> Any:  # noqa: ANN401
    """Return the application, an ASGI one.

    Args:
        run: what writes.
        limits: what a request may take.
        token: what clients must show as their API key; empty asks for none.
        hosts: names by which clients may call the server; empty takes any. It keeps a foreign site out that has bound
            its name to this machine.

    Raises:
        UserError: the extra `serve` is not installed.
    """
    require_extra("pydantic", "starlette", "uvicorn")
    from starlette.applications import Starlette
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    async def refuse(request: Any, error: Any) -> JSONResponse:  # noqa: ANN401 -- as Starlette calls it
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return JSONResponse(error.body, status_code=error.status, headers=headers)

    api = _Api(run, limits or Limits(), token, hosts)
    routes = [
        Route("/v1/models", api.models),
        Route("/v1/models/{model}", api.model),
        Route("/v1/completions", api.completions, methods=["POST"]),
        Route("/v1/chat/completions", api.chat, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={ApiError: refuse})


def require_extra(*packages: str) -> None:
    """Raise UserError where a package of the extra `serve` is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"the package {package} is not installed",
                wanted="the extra serve",
                way_out="pip install 'mambrane[serve]'",
            )


class _Api:
    """The answers; each takes a request of Starlette."""

    def __init__(self, run: Run, limits: Limits, token: str, hosts: tuple[str, ...]) -> None:
        self._run, self._limits, self._token, self._hosts = run, limits, token, hosts
        self._name = run.folder.resolve().name
        self._places, self._states = Places(limits), PrefixStates(limits.kept_states)
        self._card = {"id": self._name, "object": "model", "created": int(time.time()), "owned_by": "mambrane"}
        run.prepare_writing()

    async def models(self, request: Any) -> Any:  # noqa: ANN401 -- types of a package that may be missing
        """GET /v1/models."""
        self._admit(request)
        return self._json({"object": "list", "data": [self._card]})

    async def model(self, request: Any) -> Any:  # noqa: ANN401
        """GET /v1/models/NAME."""
        self._admit(request)
        self._require_model(request.path_params["model"])
        return self._json(self._card)

    async def completions(self, request: Any) -> Any:  # noqa: ANN401
        """POST /v1/completions."""
        self._admit(request)
        asked = parse_completion(await _body_of(request, self._limits), self._limits)
        return await self._answer(asked, "text_completion", "text_completion", f"cmpl-{uuid.uuid4().hex}")

    async def chat(self, request: Any) -> Any:  # noqa: ANN401
        """POST /v1/chat/completions."""
        self._admit(request)
        asked = parse_chat(await _body_of(request, self._limits), self._limits)
        number = f"chatcmpl-{uuid.uuid4().hex}"
        return await self._answer(asked, "chat.completion", "chat.completion.chunk", number)

    async def _answer(self, asked: Asked, whole: str, chunk: str, number: str) -> Any:  # noqa: ANN401
        from starlette.responses import StreamingResponse

        self._require_model(asked.model)
        self._places.refuse_if_full()
        answering = Answering(self._run, asked, self._limits, self._states)
        about = {"id": number, "created": int(time.time()), "model": self._name}
        if asked.stream:
            lines = _stream(answering, asked, {**about, "object": chunk}, self._places)
            return StreamingResponse(lines, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        texts = [("", "length")] * (len(asked.prompts) * asked.num_samples)
        async with self._places:
            async for index, piece, reason in answering.pieces():
                texts[index] = (texts[index][0] + piece, reason or "length")
        choices = choices_of(texts, is_chat=asked.is_chat)
        return self._json({**about, "object": whole, "choices": choices, "usage": answering.usage()})

    def _json(self, content: dict[str, Any]) -> Any:  # noqa: ANN401
        from starlette.responses import JSONResponse

        return JSONResponse(content)

    def _admit(self, request: Any) -> None:  # noqa: ANN401
        """Refuse a request under another host name, or without the key."""
        host, colon, port = request.headers.get("host", "").lower().rpartition(":")
        name = host if colon and port.isdecimal() else request.headers.get("host", "").lower()
        if self._hosts and name not in self._hosts:
            raise ApiError(421, "this server does not answer to that host name")
        shown = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if self._token and not hmac.compare_digest(shown, self._token.encode()):
            raise ApiError(401, "a wrong API key, or none", kind="authentication_error")

    def _require_model(self, asked: str) -> None:
        if asked != self._name:
            raise ApiError(404, f"no model {asked[:100]!r} here, but {self._name!r}", param="model")


async def _stream(answering: Answering, asked: Asked, about: dict[str, Any], places: Places) -> AsyncIterator[str]:
    """Yield an answer as server-sent events."""
    begun: set[int] = set()
    async with places:
        async for index, piece, reason in answering.pieces():
            choice = chunk_choice(index, piece, reason, is_chat=asked.is_chat, is_first=index not in begun)
            begun.add(index)
            yield _event({**about, "choices": [choice]})
    if asked.with_usage:
        yield _event({**about, "choices": [], "usage": answering.usage()})
    yield "data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


async def _body_of(request: Any, limits: Limits) -> bytes:  # noqa: ANN401 -- a request of a package that may be missing
    """Return the body of a request, if it is JSON of a size that is allowed; a web page cannot send that unasked."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "the body is not application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > limits.max_prompt_bytes:
            raise ApiError(413, f"more than {limits.max_prompt_bytes:,} bytes", param="prompt")
    return body
