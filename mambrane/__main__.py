"""The program `mambrane`, also as `python -m mambrane`: quiet from its first moment when Ctrl-C is pressed."""

import sys

# `python -m` looks for modules in the working folder first, where a file of the user that is called random.py would
# stand in for the library's. It is looked at last, as an extension may lie there.
if __name__ == "__main__" and not sys.flags.safe_path:
    sys.path.append(sys.path.pop(0))

import os
import signal
from types import FrameType

from mambrane.core.shadows import shadowing_files

# As in core/errors.py, which imports modules that a file of the user may stand in for.
INTERRUPTED_EXIT_CODE, USER_ERROR_EXIT_CODE = 130, 2

EXPLAINED = """\
error {files}: Python imports this in place of the module of that name
  wanted:  no file called as a module that Mambrane needs, in the folders of PYTHONPATH
  way out: give it another name, or take its folder out of PYTHONPATH
"""


def main() -> int:
    """Run the command that the program was called with, and return its exit code."""
    # A KeyboardInterrupt in the middle of an import is a traceback at best. Whatever a command writes, it writes aside
    # and renames, so it may end at any moment; training puts its own handler in this one's place.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    try:
        from mambrane.app.cli import main as run_command

        return run_command()
    except Exception:
        # Where one of these was imported in place of the right module, anything may have failed.
        found = shadowing_files()
        if not found:
            raise
        os.write(2, EXPLAINED.format(files=", ".join(found)).encode(errors="backslashreplace"))
        return USER_ERROR_EXIT_CODE


def _leave(number: int, frame: FrameType | None) -> None:
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(INTERRUPTED_EXIT_CODE)


if __name__ == "__main__":
    sys.exit(main())
