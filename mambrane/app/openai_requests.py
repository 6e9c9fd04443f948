"""What a client of `mambrane serve` may ask, in the words of OpenAI's API; what is not listed is refused by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

MOST_SAMPLES, MOST_PROMPTS, MOST_STOPS, LONGEST_STOP = 8, 8, 4, 256
BETWEEN_TURNS = "\n\n"


class ApiError(Exception):
    """A request that is refused: told to the client as OpenAI's API tells it."""

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param = status, kind, param

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": None}}


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one request, and all together, may take."""

    max_tokens: int = 1024
    """Tokens written for one request, over all its prompts and samples."""
    max_prompt_bytes: int = 65_536
    """Bytes of a request, prompt and all."""
    max_seconds: float = 60.0
    """Time spent on writing for one request."""
    max_parallel: int = 2
    """Requests that are written at once."""
    max_waiting: int = 16
    """Requests that wait for their turn; more are refused."""
    kept_states: int = 32
    """States kept of texts that were read, so that a next turn is read from there."""


class Asked(NamedTuple):
    """A request that was understood."""

    model: str
    prompts: tuple[str, ...]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]
    num_samples: int
    stream: bool
    with_usage: bool
    """Whether a stream ends with the number of tokens."""
    echo: bool
    is_chat: bool


def parse_completion(body: bytes, limits: Limits) -> Asked:
    """Return what the body of POST /v1/completions asks; raises ApiError."""
    asked = _parsed(_models()["completion"], body)
    prompts = (asked.prompt,) if isinstance(asked.prompt, str) else tuple(asked.prompt)
    return _asked(asked, prompts, asked.max_tokens, limits, echo=asked.echo, is_chat=False)


def parse_chat(body: bytes, limits: Limits) -> Asked:
    """Return what the body of POST /v1/chat/completions asks; raises ApiError.

    The model was not trained on talks: it reads "user: ..." and goes on behind "assistant:", until the next turn.
    """
    asked = _parsed(_models()["chat"], body)
    turns = [f"{message.role}: {_text(message.content)}" for message in asked.messages]
    prompt = BETWEEN_TURNS.join([*turns, "assistant:"])
    if asked.max_tokens is not None and asked.max_completion_tokens is not None:
        raise ApiError(400, "max_tokens and max_completion_tokens: give one of the two", param="max_tokens")
    max_tokens = asked.max_completion_tokens or asked.max_tokens
    return _asked(asked, (prompt,), max_tokens, limits, echo=False, is_chat=True)


def _asked(
    asked: Any,  # noqa: ANN401 -- a model of pydantic
    prompts: tuple[str, ...],
    max_tokens: int | None,
    limits: Limits,
    *,
    echo: bool,
    is_chat: bool,
) -> Asked:
    num_texts = len(prompts) * asked.n
    if max_tokens is None:
        max_tokens = max(1, min(256, limits.max_tokens // num_texts))
    if max_tokens * num_texts > limits.max_tokens:
        words = f"max_tokens {max_tokens} for {num_texts} texts: this server writes {limits.max_tokens} for a request"
        raise ApiError(400, words, param="max_tokens")
    stop = (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ())
    if is_chat:
        stop = tuple(dict.fromkeys((*stop, f"{BETWEEN_TURNS}user:")))
    with_usage = bool(asked.stream_options and asked.stream_options.include_usage)
    return Asked(
        asked.model,
        prompts,
        max_tokens,
        asked.temperature,
        asked.top_p,
        asked.seed,
        stop,
        asked.n,
        asked.stream,
        with_usage,
        echo,
        is_chat,
    )


def _text(content: Any) -> str:  # noqa: ANN401 -- text, or parts with a text each
    return content if isinstance(content, str) else "".join(part.text for part in content)


def _parsed(kind: Any, body: bytes) -> Any:  # noqa: ANN401 -- a model of pydantic
    from pydantic import ValidationError

    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        param = ".".join(map(str, first["loc"])) or None
        unknown = first["type"] == "extra_forbidden"
        words = "this server does not know it" if unknown else first["msg"]
        raise ApiError(400, f"{param}: {words}" if param else f"not JSON: {words}", param=param) from error


@cache
def _models() -> dict[str, Any]:
    """Return the two kinds of request as models of pydantic, which comes with the extra `serve`."""
    from typing import Annotated, Literal

    from pydantic import BaseModel, ConfigDict, Field

    Stop = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]
    Prompts = Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]

    class Strict(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    class StreamOptions(Strict):
        include_usage: bool = False

    class Common(Strict):
        model: str
        temperature: float = Field(default=1.0, ge=0, le=2)
        top_p: float = Field(default=1.0, gt=0, le=1)
        n: int = Field(default=1, ge=1, le=MOST_SAMPLES)
        seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
        stop: Stop | Annotated[list[Stop], Field(max_length=MOST_STOPS)] | None = None
        stream: bool = False
        stream_options: StreamOptions | None = None
        # Taken where they ask for nothing.
        user: str | None = None
        presence_penalty: float = Field(default=0, ge=0, le=0)
        frequency_penalty: float = Field(default=0, ge=0, le=0)

    class Completion(Common):
        prompt: str | Prompts = ""
        max_tokens: int | None = Field(default=None, ge=1)
        echo: bool = False
        best_of: Literal[1] | None = None
        logprobs: None = None
        suffix: None = None

    class Part(Strict):
        type: Literal["text"]
        text: str

    class Message(Strict):
        role: Literal["system", "developer", "user", "assistant"]
        content: str | list[Part]
        name: str | None = None

    class Chat(Common):
        messages: Annotated[list[Message], Field(min_length=1, max_length=1024)]
        max_tokens: int | None = Field(default=None, ge=1)
        max_completion_tokens: int | None = Field(default=None, ge=1)
        logprobs: Literal[False] | None = None

    return {"completion": Completion, "chat": Chat}


def choices_of(texts: Sequence[tuple[str, str]], *, is_chat: bool) -> list[dict[str, Any]]:
    """Return the choices of a whole answer: text and why it ended, each as OpenAI's API has it."""
    return [
        {
            "index": index,
            "finish_reason": reason,
            "logprobs": None,
            **({"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}),
        }
        for index, (text, reason) in enumerate(texts)
    ]


def chunk_choice(index: int, text: str, reason: str | None, *, is_chat: bool, is_first: bool) -> dict[str, Any]:
    """Return the choice of a piece of a stream."""
    delta = {"role": "assistant", "content": text} if is_first else {"content": text} if text else {}
    piece = {"delta": delta} if is_chat else {"text": text}
    return {"index": index, "finish_reason": reason, "logprobs": None, **piece}
