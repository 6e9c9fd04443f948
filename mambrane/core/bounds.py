"""What a setting may be, said once beside it and checked wherever settings are made: flags, files, Python.

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        hidden_dim: Annotated[int, Bounds(1, 65_536)] = 512

        def __post_init__(self) -> None:
            check_settings(self)

Every number has a least and a largest value: nan, infinities and sizes that no machine has are refused where they are
read, not where they would do harm. Free of torch.
"""

import math
from dataclasses import dataclass, fields
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from mambrane.core.errors import UserError


@dataclass(frozen=True, slots=True)
class Bounds:
    """The values of a number: least <= value <= most, without the ends named in `without`."""

    least: int | float
    most: int | float
    without: Literal["", "least", "most", "both"] = ""
    meaning_of_0: str = ""
    """What 0 stands for, for the message: "off"."""

    def hold(self, value: int | float) -> bool:
        """Return whether the value lies inside; nan lies nowhere."""
        is_above = value > self.least if self.without in ("least", "both") else value >= self.least
        is_below = value < self.most if self.without in ("most", "both") else value <= self.most
        return is_above and is_below

    def __str__(self) -> str:
        least = f"above {self.least:,}" if self.without in ("least", "both") else f"at least {self.least:,}"
        most = f"below {self.most:,}" if self.without in ("most", "both") else f"at most {self.most:,}"
        return f"{least}, {most}" + (f" (0: {self.meaning_of_0})" if self.meaning_of_0 else "")


Size = Annotated[int, Bounds(1, 65_536)]
"""Number of units, heads, channels: one dimension of a weight."""
Count = Annotated[int, Bounds(1, 1_000_000_000)]
"""Number of things to do or to keep."""
Bytes = Annotated[int, Bounds(0, 2**62, meaning_of_0="all")]
"""Amount of text."""
Seed = Annotated[int, Bounds(-(2**63), 2**63 - 1)]
"""Seed of random numbers; any 64-bit number is one."""
Positive = Annotated[float, Bounds(0, 1e9, "least")]
"""A scale, a time constant, a temperature."""
Strength = Annotated[float, Bounds(0, 1e9, meaning_of_0="off")]
"""Weight of something that may be off."""
Rate = Annotated[float, Bounds(0, 1000)]
"""How fast something changes."""
Ratio = Annotated[float, Bounds(0, 1)]
"""A part of a whole, up to all of it."""
Decay = Annotated[float, Bounds(0, 1, "most")]
"""A part of a whole that is kept or taken, never all of it."""


_MAX_CHARACTERS = 200
"""Of a value in a message."""


def check_settings(config: Any) -> None:  # noqa: ANN401 -- any dataclass of settings
    """Check every number, choice, switch and text of a dataclass of settings.

    Raises:
        UserError: a number out of its bounds, or a value of another type; the message names the flag.
    """
    for name, (hint, bounds, default, may_be_none) in _rules(config.__class__).items():
        value = getattr(config, name)
        if value is None and may_be_none:
            continue
        if fits(value, hint) and (bounds is None or bounds.hold(value)):
            continue
        flag = f"--{name.replace('_', '-')}"
        default = " ".join(default) if isinstance(default, tuple) else default
        raise UserError(
            f"{flag} {_shown(value)}",
            wanted=_wanted(hint, bounds),
            way_out=_way_out(flag, default, bounds),
        )


def without_none(hint: Any) -> Any:  # noqa: ANN401 -- any annotation
    """Return the type of a setting that may also be None; of any other, the type itself."""
    options = get_args(hint)
    if get_origin(hint) not in (Union, UnionType) or type(None) not in options or len(options) != 2:
        return hint
    return options[0] if options[1] is type(None) else options[1]


def _way_out(flag: str, default: object, bounds: Bounds | None) -> str:
    if isinstance(default, bool):
        return f"{flag} or --no-{flag[2:]}"
    if default is None:
        return f"leave {flag} out" + (f", or {flag} {bounds.least}" if bounds is not None else "")
    return f"{flag} {default}"


@cache
def _rules(kind: type) -> dict[str, tuple[Any, Bounds | None, Any, bool]]:
    """Return type, bounds and default of each setting of a dataclass that is checked, and whether None is a value."""
    rules = {}
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        hint = hints[field.name]
        is_annotated = get_origin(hint) is Annotated
        whole = get_args(hint)[0] if is_annotated else hint
        plain = without_none(whole)
        marks = [mark for mark in get_args(hint)[1:] if isinstance(mark, Bounds)] if is_annotated else []
        if plain in (int, float, bool, str) or plain == tuple[str, ...] or get_origin(plain) is Literal:
            rules[field.name] = (plain, marks[0] if marks else None, field.default, plain is not whole)
    return rules


def fits(value: object, hint: Any) -> bool:  # noqa: ANN401 -- any annotation
    """Return whether a value is of the type of a setting, and one of its choices where it has some."""
    options = get_args(hint)
    if get_origin(hint) is Literal:
        return any(type(value) is type(option) and value == option for option in options)
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(fits(item, options[0]) for item in value)
    if get_origin(hint) in (Union, UnionType):
        return any(fits(value, option) for option in options)
    # bool is a subclass of int, so isinstance would take True for 1.
    return type(value) in ((int, float) if hint is float else (hint,))


def _wanted(hint: Any, bounds: Bounds | None) -> str:  # noqa: ANN401 -- any annotation
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    words = _KINDS[hint]
    return words if bounds is None else f"{words}, {bounds}"


_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "True or False", str: "text"}
_KINDS[tuple[str, ...]] = "a tuple of text"


def _shown(value: object) -> str:
    """Return a value as it may stand in a message, however many digits it has."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**20:
        return f"{'-' * (value < 0)}1e{int(math.log10(abs(value)))} or so"
    return str(value)[:_MAX_CHARACTERS]
