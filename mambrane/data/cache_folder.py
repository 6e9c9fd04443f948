"""Where Mambrane keeps what several runs share."""

import os
from pathlib import Path

from mambrane.core.errors import UserError


def cache_folder() -> Path:
    """Return the folder for texts, tokenizers and tokens: MAMBRANE_CACHE, else the user's cache folder.

    Raises:
        UserError: none of them is named, and the user has no home.
    """
    named = os.environ.get("MAMBRANE_CACHE")
    if named:
        return Path(named)
    caches = os.environ.get("XDG_CACHE_HOME")
    if caches:
        return Path(caches) / "mambrane"
    try:
        return Path.home() / ".cache" / "mambrane"
    except RuntimeError as error:
        raise UserError(
            "this user has no home folder, and neither MAMBRANE_CACHE nor XDG_CACHE_HOME is set",
            wanted="a folder that keeps texts and tokens between runs",
            way_out="set MAMBRANE_CACHE to a folder with write permission",
        ) from error
