"""The program `mambrane`, also as `python -m mambrane`: quiet from its first moment when Ctrl-C is pressed."""

import os
import signal
import sys
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
