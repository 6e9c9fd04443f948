"""What a setting needs in order to do anything, said beside it, so that a setting without effect is answered.

    replay_fraction: Annotated[float, Bounds(0, 1), REPLAY] = 0.5

where REPLAY = Needs("--use-replay", lambda run: run.continual.use_replay). Free of torch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True, slots=True)
class Needs:
    """A condition on the whole configuration of a run."""

    words: str
    """What is needed, for the message: "--use-replay"."""
    is_met: Callable[[Any], bool]
    """Whether a configuration, with its sections as attributes, has it."""


def unmet_needs(config: Any) -> Iterator[tuple[str, str, str]]:  # noqa: ANN401 -- a dataclass of sections
    """Yield section, name and missing need, as text, of every setting that does nothing in a configuration."""
    for section in fields(config):
        settings = getattr(config, section.name)
        if not is_dataclass(settings):
            continue
        for name, hint in get_type_hints(type(settings), include_extras=True).items():
            marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
            missing = [mark.words for mark in marks if isinstance(mark, Needs) and not mark.is_met(config)]
            if missing:
                yield section.name, name, " and ".join(missing)
