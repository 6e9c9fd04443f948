"""The console that everything is printed through: text stands as it is, whatever a name or a path holds."""

from typing import Any

from rich.console import Console

USUAL_WIDTH = 80


def plain_console(
    file: Any = None,  # noqa: ANN401 -- whatever stands in the place of standard output
    *,
    stderr: bool = False,
    width: int | None = None,
) -> Console:
    """Return a console that reads no markup ([bold]) and no emoji (:smile:) in text, and colours no numbers.

    Args:
        file: where to write; standard output if None.
        stderr: write to standard error instead.
        width: columns; those of the terminal if None.
    """
    console = Console(file=file, stderr=stderr, width=width, highlight=False, markup=False, emoji=False)
    if console.width < 1:
        # COLUMNS=0, as some terminals have it: nothing at all would be printed.
        console.width = USUAL_WIDTH
    return console
