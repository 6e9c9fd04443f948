"""Writes docs/reference/commands.md from the arguments of each command: `python scripts/commands_page.py`."""

from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import tyro

from mambrane.app.arguments import ARGUMENTS
from mambrane.app.help import Setting, default_text, flag_text, sentences_of

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "commands.md"
HEAD = """\
# Every command

`mambrane COMMAND --help` prints the same. RUN is the folder of a run. The exit code is 0 when all went well, 1 when a
run of a study failed, 2 for a mistake in what was asked, 3 when a task was taken back, and 128 + the number of the
signal that stopped it.
"""
LIKE_TRAIN = {
    "train": (
        "Trains; run the same command again after any interruption and it resumes. Its flags are {doc}`settings`."
    ),
    "learn": (
        "Teaches a run more text, behind all that it has learned. It takes the flags of `train` that a later task may "
        "change: those of {doc}`settings` except the model, the tokenizer, the sequence length and the seed."
    ),
}
"""Commands that take the settings of a run."""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page: each command with what it is given."""
    sections = [HEAD]
    for name in ARGUMENTS:
        words = LIKE_TRAIN.get(name)
        sections.append(f"## mambrane {name}\n\n{words}\n" if words else _section(name))
    return "\n".join(sections)


def _section(name: str) -> str:
    kind = ARGUMENTS[name]
    types, sentences = get_type_hints(kind), sentences_of(kind)
    marked = get_type_hints(kind, include_extras=True)
    rows = []
    for field in fields(kind):
        is_positional = tyro.conf.Positional in getattr(marked[field.name], "__metadata__", ())
        setting = Setting(field.name, types[field.name], field.default, sentences[field.name])
        rows.append(_row(field.name.upper() if is_positional else flag_text(setting), setting, field.default))
    table = "\n".join(["| argument | default | what it does |", "|---|---|---|", *rows])
    return f"## mambrane {name}\n\n{' '.join((kind.__doc__ or '').split())}\n\n{table}\n"


def _row(argument: str, setting: Setting, default: Any) -> str:  # noqa: ANN401 -- any setting's value
    stands_at = default_text(default) if isinstance(default, (str, int, float, bool, tuple)) else ""
    cells = [f"`{argument}`", stands_at or "-", setting.sentence]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    main()
