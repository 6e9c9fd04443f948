"""Text from a run's model and about it: continuations, several from one prompt, kept states, the score of each line."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.core.seeding import make_generator
from mambrane.data.tokenizer import Tokenizer
from mambrane.measure.decoding import Decoder, decoder_for
from mambrane.measure.prefix_states import PrefixStates, read_text
from mambrane.measure.sampling import Sampling
from mambrane.measure.scoring import LineScore, score_lines
from mambrane.measure.state_files import KeptState, hash_of_weights, load_state, require_place, save_state
from mambrane.measure.writing import EndedBy, Writing
from mambrane.models.language_model import LanguageModel


class Written(NamedTuple):
    """One continuation, finished."""

    text: str
    num_tokens: int
    """Tokens that were drawn for it."""
    ended_by: EndedBy
    """max_tokens, end_of_text or stop."""


def decoder_of(model: LanguageModel, tokenizer: Tokenizer, kept: KeptState | None = None) -> Decoder:
    """Return what reads a text with a model, from its start or from a state."""
    return decoder_for(model, tokenizer.end_of_text, None if kept is None else kept.state)


def begin_writing(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: bytes,
    sampling: Sampling,
    *,
    num_samples: int,
    max_tokens: int,
    seed: int,
    stop: Sequence[str],
    states: PrefixStates | None = None,
) -> Iterator[Writing]:
    """Yield several continuations of one prompt, which is read once; each has a draw of its own.

    With `states` a prompt whose beginning was read before is read from there, and the same is written.
    """
    tokens = [tokenizer.end_of_text, *tokenizer.encode(prompt).tolist()]
    decoder = read_text(model, tokens, tokenizer.end_of_text, states)
    for sample in range(num_samples):
        generator = make_generator(seed, "generate", *([str(sample)] if sample else []))
        own = decoder.copy() if sample < num_samples - 1 else decoder
        yield Writing(own, tokenizer, [], sampling, generator, max_tokens=max_tokens, stop=stop)


@contextmanager
def writing_with_state(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: bytes,
    sampling: Sampling,
    *,
    state: Path,
    max_tokens: int,
    seed: int,
    stop: Sequence[str],
    events: EventLog,
) -> Iterator[Writing]:
    """Continue the text that a file keeps and the prompt behind it; at the end the file keeps the text up to there.

    A file that is not there yet starts a new text. Draws differ from session to session.
    """
    require_place(state)
    weights = hash_of_weights(model)
    kept = load_state(state, model) if state.exists() else None
    if kept is not None and kept.weights_hash != weights:
        events.emit("warning", message=f"{state} was kept by other weights; the text goes on with these")
    decoder = decoder_of(model, tokenizer, kept)
    decoder.read([*([tokenizer.end_of_text] if kept is None else kept.unread), *tokenizer.encode(prompt).tolist()])
    generator = make_generator(seed, "generate", *([] if kept is None else [_fingerprint(kept)]))
    writing = Writing(decoder, tokenizer, [], sampling, generator, max_tokens=max_tokens, stop=stop)
    try:
        yield writing
    finally:
        save_state(state, KeptState(decoder.state(), writing.unread, weights))


def score_text(model: LanguageModel, tokenizer: Tokenizer, lines: Iterable[bytes | str]) -> Iterator[LineScore]:
    """Yield the score of each line as it comes."""
    return score_lines(decoder_of(model, tokenizer), tokenizer, map(as_bytes, lines))


def as_bytes(text: bytes | str) -> bytes:
    """Return text as UTF-8; bytes that were none, as file names and arguments may hold, come back as they were."""
    return text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text


def check_samples(num_samples: int, state: Path | None) -> None:
    """Raise UserError for a number of samples that makes no sense."""
    if num_samples < 1:
        raise UserError(f"--num-samples {num_samples}", wanted="at least 1", way_out="--num-samples 1")
    if num_samples > 1 and state is not None:
        raise UserError(
            f"--state with --num-samples {num_samples}: a file keeps one text",
            wanted="one sample",
            way_out="leave one of the two out",
        )


def written(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: bytes,
    sampling: Sampling,
    *,
    num_samples: int,
    state: Path | str | None = None,
    events: EventLog,
    **settings: Any,  # noqa: ANN401 -- those of `begin_writing`
) -> list[Written]:
    """Return several continuations of a prompt, or one behind the text that a file keeps, written to their ends."""
    check_samples(num_samples, None if state is None else Path(state))
    if state is None:
        begun = begin_writing(model, tokenizer, prompt, sampling, num_samples=num_samples, **settings)
        return [_finished("".join(writing), writing) for writing in begun]
    with writing_with_state(
        model, tokenizer, prompt, sampling, state=Path(state), events=events, **settings
    ) as writing:
        return [_finished("".join(writing), writing)]


def _finished(text: str, writing: Writing) -> Written:
    return Written(text, writing.num_tokens, writing.ended_by)


def _fingerprint(kept: KeptState) -> str:
    """Return text that differs from session to session, so that equal seeds do not draw the same numbers again."""
    return f"{sum(part.double().sum().item() for part in _tensors(kept.state)):.17g} {kept.unread}"


def _tensors(tree):  # noqa: ANN001, ANN202 -- any tree of states
    if hasattr(tree, "double"):
        yield tree
    elif tree is not None:
        for item in tree:
            yield from _tensors(item)
