"""Writes the facts of each page in docs/methods from the methods themselves: `python scripts/method_pages.py`.

A page says in a comment which method it is about, which settings turn it on and which are its own; between that comment
and the next stand the facts that the code says: settings with their defaults and meaning, memory, processes, numbers;
and what `python -m benchmarks.method_cost` measured. The table of all costs stands in the index of the pages.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mambrane.app.arguments import TrainArguments
from mambrane.app.help import Setting, default_text, flag_text, settings_of
from mambrane.engine.method import Method
from mambrane.settings.config import RunConfig
from mambrane.settings.methods import METHODS
from mambrane.settings.named_settings import config_of

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "methods"
INDEX = FOLDER / "index.md"
COSTS = ROOT / "benchmarks" / "results" / "method_cost.json"
HEAD = re.compile(r"<!-- facts: (\{.*\}) -->\n")
END = "<!-- end of facts -->"
TABLE, END_OF_TABLE = "<!-- costs -->\n", "<!-- end of costs -->"
SEVERAL_TASKS = {"continual_learning": True, "num_tasks": 2, "use_mamba": True}


class Head(NamedTuple):
    """What a page says of itself."""

    method: str
    """Name of the method."""
    turn_on: Mapping[str, Any]
    """Settings with which a run of two tasks has it."""
    settings: tuple[str, ...]
    """Its own settings."""


def main() -> None:
    """Write the facts of every page, and the table of the index."""
    for path in pages():
        path.write_text(with_facts(path.stem, path.read_text(encoding="utf-8")), encoding="utf-8")
    INDEX.write_text(with_costs(INDEX.read_text(encoding="utf-8")), encoding="utf-8")


def pages() -> list[Path]:
    """Return the pages of methods: those with a head."""
    return [path for path in sorted(FOLDER.glob("*.md")) if HEAD.search(path.read_text(encoding="utf-8"))]


def head_of(text: str) -> Head:
    """Return what a page says of itself."""
    found = HEAD.search(text)
    assert found is not None, "pages() has looked"
    said = json.loads(found[1])
    return Head(said["method"], said["turn_on"], tuple(said["settings"]))


def with_facts(name: str, text: str) -> str:
    """Return the page of a name with the facts of today's code and the costs as measured."""
    found = HEAD.search(text)
    assert found is not None, "pages() has looked"
    return f"{text[: found.end()]}\n{facts(head_of(text))}\n{_cost(name)}\n{text[text.index(END) :]}"


def with_costs(text: str) -> str:
    """Return the index with the table of costs as measured."""
    measured = json.loads(COSTS.read_text(encoding="utf-8"))
    costs = sorted(measured["costs"].items(), key=lambda item: item[1]["over_naive"])
    rows = [f"| {{doc}}`{name}` | {_percent(cost)} | {_border(cost)} |" for name, cost in costs]
    smaller = [f"{name} with `{_flags(settings)}`" for name, settings in measured["smaller"].items()]
    lines = [
        f"`python -m benchmarks.method_cost`, {measured['date']}, {measured['processor']}, one thread, tiny preset, a "
        f"naive step {measured['costs']['activity']['step_ms']:.0f} ms; {', '.join(smaller)}.",
        "",
        "| method | a step, over naive | border between two tasks, s more |",
        "|---|---|---|",
        *rows,
    ]
    return f"{text[: text.index(TABLE) + len(TABLE)]}\n" + "\n".join(lines) + f"\n\n{text[text.index(END_OF_TABLE) :]}"


def _cost(name: str) -> str:
    cost = json.loads(COSTS.read_text(encoding="utf-8"))["costs"].get(name)
    if cost is None:  # One that text has not; its page says what it takes.
        return ""
    measured = f"a step {_percent(cost)}, the border between two tasks {_border(cost)} s"
    return f"- Processor time over naive training, measured: {measured} ({{doc}}`index`).\n"


def _percent(cost: Mapping[str, float]) -> str:
    return f"{100 * cost['over_naive']:+.0f} %"


def _border(cost: Mapping[str, float]) -> str:
    # Adding 0 turns a rounded -0.0 into 0.0.
    return f"{round(cost['border_s'], 1) + 0.0:+.1f}"


def facts(head: Head) -> str:
    """Return settings, memory, processes and numbers of a method."""
    method = next(each for each in METHODS if each.name == head.method)
    by_name = {setting.name: setting for _, group in settings_of(TrainArguments()) for setting in group}
    config = config_of({**SEVERAL_TASKS, **head.turn_on}, source="page")
    assert method.is_used(config), f"{head.turn_on} does not turn {head.method} on"
    rows = [_row(by_name[name]) for name in head.settings]
    return "\n".join(
        [
            f"Turned on by `{_flags(head.turn_on)}`." if head.turn_on else "Always on.",
            "",
            "| flag | default | what it does |",
            "|---|---|---|",
            *rows,
            "",
            f"- Memory: {_memory(method, config)}.",
            f"- Several processes: {'yes' if method.across_ranks else 'no'}.",
            f"- Numbers in log, TensorBoard and report: {_numbers(method)}.",
        ]
    )


def _memory(method: type[Method], config: RunConfig) -> str:
    number = method.kept_per_parameter(config)
    return (
        f"{number} number{'s' * (number != 1)} for each parameter of the model"
        if number
        else "none that grows with the model"
    )


def _numbers(method: type[Method]) -> str:
    return ", ".join(f"`{method.name}/{number.name}`" for number in method.numbers) or "none of its own"


def _flags(turn_on: Mapping[str, Any]) -> str:
    words = []
    for name, value in turn_on.items():
        flag = f"--{name.replace('_', '-')}"
        words.append(flag if value is True else f"{flag} {value}")
    return " ".join(words)


def _row(setting: Setting) -> str:
    cells = (f"`{flag_text(setting)}`", default_text(setting.default) or "-", setting.sentence)
    return "| " + " | ".join(re.sub(r"\|", r"\\|", cell) for cell in cells) + " |"


if __name__ == "__main__":
    main()
