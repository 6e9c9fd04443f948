"""The program as a script: `python scripts/cli.py train ...` is the same as `mambrane train ...`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mambrane.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
