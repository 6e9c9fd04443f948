"""`python -m mambrane` is the program `mambrane`."""

import sys

from mambrane.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
