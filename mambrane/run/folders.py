"""Where Mambrane keeps what several runs share."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder for texts, tokenizers and tokens: MAMBRANE_CACHE, else the user's cache folder."""
    named = os.environ.get("MAMBRANE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mambrane"
