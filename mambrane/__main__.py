"""The program `mambrane`, also as `python -m mambrane`: quiet from its first moment when Ctrl-C is pressed."""

import sys

# `python -m` looks for modules in the working folder first, where a file of the user that is called random.py would
# stand in for the library's. It is looked at last, as an extension may lie there.
if __name__ == "__main__" and not sys.flags.safe_path:
    sys.path.append(sys.path.pop(0))

import os
import signal
from types import FrameType

from mambrane.core.errors import INTERRUPTED_EXIT_CODE


def main() -> int:
    """Run the command that the program was called with, and return its exit code."""
    # A KeyboardInterrupt in the middle of an import is a traceback at best. Whatever a command writes, it writes aside
    # and renames, so it may end at any moment; training puts its own handler in this one's place.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from mambrane.app.cli import main as run_command

    return run_command()


def _leave(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(INTERRUPTED_EXIT_CODE)


if __name__ == "__main__":
    sys.exit(main())
