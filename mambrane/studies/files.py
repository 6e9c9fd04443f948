"""Study files: TOML by path, or the name of a ready one that comes with the package."""

import dataclasses
import difflib
import tomllib
from pathlib import Path
from typing import Any

from mambrane.core.errors import UserError
from mambrane.studies.study import OWN_SETTINGS, Study

READY_FOLDER = Path(__file__).parent / "ready"
_KEYS = tuple(field.name for field in dataclasses.fields(Study) if field.name != "source")


def ready_studies() -> dict[str, Study]:
    """Return the studies that come with the package, by name."""
    return {path.stem: read_study(path) for path in sorted(READY_FOLDER.glob("*.toml"))}


def find_study(name_or_path: str | Path) -> Study:
    """Return the study in a file, or the ready one of that name.

    Raises:
        UserError: there is neither, or the file is none of a study.
    """
    path = Path(name_or_path)
    ready = READY_FOLDER / f"{name_or_path}.toml"
    if not path.is_file() and path.name == str(name_or_path) and ready.is_file():
        return read_study(ready)
    if path.is_file():
        return read_study(path)
    names = sorted(known.stem for known in READY_FOLDER.glob("*.toml"))
    alike = difflib.get_close_matches(path.stem, names, n=3)
    raise UserError(
        f"{name_or_path}: no such file, and no ready study of that name",
        wanted=f"a file .toml, or one of {', '.join(names)}",
        way_out=f"mambrane study {alike[0]}" if alike else "mambrane study --list says what each asks",
    )


def read_study(path: Path) -> Study:
    """Return the study in a TOML file.

    Raises:
        UserError: the file cannot be read, or says what no study says.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        words = str(error)
        found = f"{path}: {words}"
        if "twice" in words or "overwrite" in words.lower():
            raise UserError(found, wanted="each name once", way_out="rename or remove the second one") from error
        raise UserError(found, wanted="a TOML file of a study", way_out="correct the file") from error
    return study_of(content, source=str(path))


def study_of(content: dict[str, Any], *, source: str) -> Study:
    """Return the study that a mapping, as of a TOML file, describes.

    Raises:
        UserError: a name that is unknown, missing, or of the wrong type.
    """
    for key in content:
        if key not in _KEYS:
            raise _unknown(key, content[key], source)
    for key, example in (("name", '"methods"'), ("baseline", '"naive"')):
        if key not in content:
            raise UserError(f"{source}: no {key}", wanted=f"a line {key} = ...", way_out=f"{key} = {example}")
    _check_types(content, source)
    return Study(**{"arms": {}, **content}, source=source)


def _check_types(content: dict[str, Any], source: str) -> None:
    wanted: dict[str, tuple[Any, str]] = {
        **dict.fromkeys(("name", "baseline", "title", "metric", "naive", "joint", "axis", "series"), (str, "text")),
        "settings": (dict, "a table"),
        "arms": (dict, "a table for each arm"),
        "expected_minutes": (int | float, "a number"),
        "seeds": (int | list, "a whole number, or a list of them"),
        "orders": (int | list, "a whole number, or a list of orders"),
    }

    def refuse(what: str, value: Any, words: str, way_out: str) -> None:  # noqa: ANN401 -- any TOML value
        raise UserError(f"{source}: {what} = {value!r}", wanted=words, way_out=way_out)

    for key, value in content.items():
        kind, words = wanted[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            refuse(key, value, words, f"correct {key}")
    for arm, settings in content.get("arms", {}).items():
        if not isinstance(settings, dict):
            refuse(f"arms.{arm}", settings, "a table", f"[arms.{arm}] and its settings below")
    seeds, orders = content.get("seeds", 1), content.get("orders", 1)
    if isinstance(seeds, list) and any(type(seed) is not int for seed in seeds):
        refuse("seeds", seeds, "whole numbers", "seeds = [0, 1, 2]")
    for order in orders if isinstance(orders, list) else []:
        if not isinstance(order, list) or not all(isinstance(name, str) for name in order):
            refuse("orders: an order", order, "a list of domains, each as text", OWN_SETTINGS["task_order"])


def _unknown(key: str, value: Any, source: str) -> UserError:  # noqa: ANN401 -- any TOML value
    alike = difflib.get_close_matches(key, _KEYS, n=1)
    if isinstance(value, dict):
        way_out = f"[arms.{key}] if it is an arm, [{alike[0]}] if that was meant" if alike else f"[arms.{key}]"
    else:
        way_out = f"{alike[0]} = ..." if alike else f"below [settings], if {key} is a setting of the runs"
    return UserError(f"{source}: {key} is no name in a study", wanted=", ".join(_KEYS), way_out=way_out)
