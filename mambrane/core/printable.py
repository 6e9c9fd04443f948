"""Names as they can be shown: file names may hold any bytes, and a terminal obeys some characters."""

from pathlib import Path

_MAX_CHARACTERS, _END = 500, 200


def printable(name: str | Path) -> str:
    r"""Return a name with everything that is not a character on paper written out: \xff, \n, \x1b.

    Names that the system gives may hold bytes that are no UTF-8; Python keeps those as lone surrogates, which no
    stream can write. Line ends and control characters would forge lines of a log or steer the terminal.
    """
    return "".join(_written_out(letter) for letter in str(name))


def printable_path(path: str | Path) -> str:
    """Return a path as it may stand in a message: printable, and without the middle of a very long one."""
    words = printable(path)
    return words if len(words) <= _MAX_CHARACTERS else f"{words[:_END]} ... {words[-_END:]}"


def _written_out(letter: str) -> str:
    if letter.isprintable():
        return letter
    # Python's stand-in for a byte that is no UTF-8 (PEP 383).
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return ascii(letter)[1:-1]
