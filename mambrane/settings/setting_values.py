"""Settings from a JSON file: by section, each of a type that it takes, and one of the choices where it has some."""

import json
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from mambrane.core.bounds import fits, without_none
from mambrane.core.errors import UserError
from mambrane.core.ordinary_files import read_ordinary
from mambrane.core.renamed import with_present_settings

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


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; of two values under one name the parser would take the last without a word."""
    names = [name for name, _ in pairs]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(f"{', '.join(doubled)} stands in it twice")
    return dict(pairs)


def read_config_file(path: Path) -> dict[str, dict[str, Any]]:
    """Return the sections of a JSON configuration file.

    Raises:
        UserError: the file cannot be read or is not a JSON object of objects.
    """
    try:
        sections = json.loads(read_ordinary(path), object_pairs_hook=_once_each)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"--config {path}: {error}", wanted="a readable JSON file", way_out="correct the path or the file"
        ) from error
    if not isinstance(sections, dict) or not all(isinstance(values, dict) for values in sections.values()):
        raise UserError(
            f"--config {path}: not settings by section",
            wanted='JSON such as {"model": {"hidden_dim": 256}}',
            way_out="copy the config.json of a run",
        )
    return with_present_settings(sections)
