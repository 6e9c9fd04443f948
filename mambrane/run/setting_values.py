"""Whether a value from a JSON file is one that a setting takes: its type, and one of the choices where it has some."""

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from mambrane.core.bounds import fits, without_none
from mambrane.core.errors import UserError

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


def checked_value(value: Any, hint: Any, *, where: str) -> Any:  # noqa: ANN401 -- any JSON value, any annotation
    """Return the value as the setting holds it: a float for a whole number where a float is meant, a tuple for a list.

    Args:
        value: what the file says.
        hint: annotation of the setting.
        where: file and setting, for the message.

    Raises:
        UserError: it is of another type, or none of the choices.
    """
    held = tuple(value) if isinstance(value, list) else value
    if not fits(held, hint):
        raise UserError(f"{where}: {value!r}", wanted=_wanted(hint), way_out="correct the file")
    if without_none(hint) is float and isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            raise UserError(
                f"{where}: a number of {len(str(value))} digits", wanted="a number", way_out="correct the file"
            ) from None
    return held


def _wanted(hint: Any) -> str:  # noqa: ANN401 -- any annotation
    options = get_args(hint)
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, options))
    if get_origin(hint) is tuple:
        return f"a list, each item {_wanted(options[0])}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(map(_wanted, options))
    return _WORDS[hint]
