"""Errors that a user can act on. The command line prints them in red without a traceback."""

from pathlib import Path

from mambrane.core.printable import printable

INTERRUPTED_EXIT_CODE = 130
"""128 + SIGINT, as a shell reports a program that Ctrl-C has ended."""

TAKEN_BACK_EXIT_CODE = 3
"""Of a command whose task was learned and taken back: nothing failed, and nothing was learned."""


class MambraneError(Exception):
    """Base of all errors that are answered with a message instead of a traceback."""


class UserError(MambraneError, ValueError):
    """A mistake in what was asked: says what was found, what was wanted and the way out."""

    def __init__(self, found: str, *, wanted: str, way_out: str) -> None:
        self.found, self.wanted, self.way_out = (_printable_lines(text) for text in (found, wanted, way_out))
        super().__init__(f"{self.found}\n  wanted:  {self.wanted}\n  way out: {self.way_out}")


def damaged_file(path: Path, error: Exception, *, wanted: str, way_out: str) -> UserError:
    """Return what to say of a file whose content made a reader fail with this error."""
    return UserError(f"{path} is damaged ({type(error).__name__}: {str(error)[:100]})", wanted=wanted, way_out=way_out)


def _printable_lines(text: str) -> str:
    """Return a message, which may show a file name or a line of a file, as any terminal can show it."""
    return "\n".join(printable(line) for line in text.split("\n"))
