"""Writes docs/reference/events.md from the code that emits events: `python scripts/events_page.py`."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mambrane
from mambrane.watch.event_kinds import FILES, KINDS

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "events.md"
PACKAGE = Path(mambrane.__file__).parent
STEP_STATES = ("skipped", "empty", "aborted")
HEAD = """\
# Every event and file of a run

All that happens in a run is a line of JSON in its `events.jsonl`, written before anybody is told: console,
TensorBoard and the report are listeners and readers of these lines. Each has `time_s`, seconds since 1970, and
`event`, its kind. A number that JSON lacks (nan, inf) is written as text. In Python they are
`mambrane.Run.open(folder).events()`, or, while they happen, `mambrane.train(config, listeners=[function])`.

A run that was interrupted goes on from its last checkpoint, so some steps stand twice: behind `resumed` with its
`step`, earlier lines of later steps no longer count. `task_taken_back` undoes in the same way. A `run_started`
without `resumed` behind it begins anew: no earlier line counts.

This page is made from the code; a test holds the two equal.
"""
FILES_HEAD = """\
## The files

Everything a run leaves stands in its folder; nothing else is kept anywhere but a cache of tokenized text, which may
be deleted.

| file or folder | what it holds |
|---|---|
"""


class Emitted(NamedTuple):
    """A kind of event as some call emits it."""

    kind: str
    fields: tuple[str, ...]
    file: str


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page: each kind with its fields, then each file."""
    found = fields_by_kind()
    parts = [HEAD]
    for title, kinds in KINDS.items():
        rows = [f"| `{kind}` | {_names(found.get(kind, ()))} | {words} |" for kind, words in kinds.items()]
        parts.append("\n".join([f"## {title}", "", "| event | fields | what it says |", "|---|---|---|", *rows, ""]))
    files = "\n".join(f"| `{name}` | {words} |" for name, words in FILES.items())
    return "\n".join([*parts, FILES_HEAD + files]) + "\n"


def fields_by_kind() -> dict[str, tuple[str, ...]]:
    """Return the fields of each kind that the package emits, in the order of its first call."""
    fields: dict[str, dict[str, None]] = {}
    for emitted in emitted_events():
        fields.setdefault(emitted.kind, {}).update(dict.fromkeys(emitted.fields))
    return {kind: tuple(names) for kind, names in fields.items()}


def emitted_events() -> Iterator[Emitted]:
    """Yield every event that the package emits, from its source."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and _is_emit(call) and call.args:
                for kind in _kinds(call.args[0]):
                    yield Emitted(kind, tuple(_fields(call, tree)), str(path.relative_to(PACKAGE)))


def _is_emit(call: ast.Call) -> bool:
    words = ast.unparse(call.func).split(".")
    return words[-1] == "emit" and words[-2] in ("events", "_events", "_log", "self")


def _kinds(argument: ast.expr) -> list[str]:
    """Return the kinds that the first argument of a call stands for; none where an event is handed on."""
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return [argument.value]
    if isinstance(argument, ast.JoinedStr):
        start = argument.values[0]
        assert isinstance(start, ast.Constant), ast.unparse(argument)
        return [f"{start.value}{state}" for state in STEP_STATES]
    return []


def _fields(call: ast.Call, tree: ast.Module) -> Iterator[str]:
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg
        else:
            yield from _expanded(keyword.value, tree)


def _expanded(value: ast.expr, tree: ast.Module) -> Iterator[str]:
    """Yield the names of `**value`, where a function or property of the package says them."""
    named = value.func if isinstance(value, ast.Call) else value
    name = named.attr if isinstance(named, ast.Attribute) else named.id if isinstance(value, ast.Call) else ""
    # Methods of these names are many; what they return stands in the words of the kind.
    for path in sorted(PACKAGE.rglob("*.py")) if name not in ("", "state_dict", "_asdict") else []:
        source = path.read_text(encoding="utf-8")
        if f"def {name}(" not in source:
            continue
        for function in ast.walk(ast.parse(source)):
            if isinstance(function, ast.FunctionDef) and function.name == name:
                yield from _returned_names(function)
                return


def _returned_names(function: ast.FunctionDef) -> Iterator[str]:
    """Yield the literal keys of the dictionaries that a function makes at the top of what it returns."""
    for statement in ast.walk(function):
        if isinstance(statement, ast.Return) and isinstance(statement.value, ast.Dict):
            for key in statement.value.keys:
                if isinstance(key, ast.Constant):
                    yield str(key.value)


def _names(fields: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in fields) or "-"


if __name__ == "__main__":
    main()
