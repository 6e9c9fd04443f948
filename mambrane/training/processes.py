"""What the processes of one run must have in common before they train: packages, settings, text, and the folder.

Each reads for itself, perhaps on another machine. What differs there would show much later, as weights that differ or
as a process that waits for another; so it is asked first, and said by name.
"""

import time
from collections.abc import Sequence
from importlib.metadata import version

from mambrane.data.corpus import Corpus
from mambrane.engine.ranks import Ranks, RanksDifferError
from mambrane.settings.config import RunConfig, fingerprint
from mambrane.storage.run_folder import RunFolder

PACKAGES = ("torch", "numpy", "numba", "llvmlite", "tokenizers")
"""Packages that decide what a token or the last bit of a number is."""
SEEN_WITHIN_S = 20.0
"""How long a network file system may take until a new file is seen on other machines."""


def require_same_start(ranks: Ranks, config: RunConfig, texts: Sequence[Corpus]) -> None:
    """Refuse processes of different packages, settings or text.

    Raises:
        RanksDifferError: it names what differs, and what it is on two ranks.
    """
    if ranks.size == 1:
        return
    facts = {f"the version of {name}": version(name) for name in PACKAGES}
    facts["the settings (their hash)"] = fingerprint(config)
    facts |= {f"the text {text.name} (its hash)": text.content_hash for text in texts}
    ranks.require_same(
        facts, way_out="the same packages, flags and files on all machines, or a file system that all of them share"
    )


def require_shared(ranks: Ranks, folder: RunFolder, *, within_s: float = SEEN_WITHIN_S) -> None:
    """Refuse a folder that is not the same place for all processes; the first one holds its lock.

    Raises:
        RanksDifferError: it names the ranks that do not see what the first one has written.
    """
    if ranks.size == 1:
        return
    holder = ranks.gather(_holder(folder) if ranks.is_first else b"")[0]
    give_up_s = time.monotonic() + within_s
    while not (is_seen := _holder(folder) == holder) and time.monotonic() < give_up_s:
        time.sleep(0.2)
    blind = [f"rank {rank}" for rank, sees in enumerate(ranks.gather(is_seen)) if not sees]
    if blind:
        raise RanksDifferError(
            f"{folder.path} is another place for {', '.join(blind)} than for rank 0",
            wanted="a folder on a file system that all machines share",
            way_out="an --output-dir there; MAMBRANE_CACHE too, so that text is read once",
        )


def _holder(folder: RunFolder) -> bytes:
    """Return who holds the lock, as the lock says; nothing where there is none."""
    try:
        return folder.lock_file.read_bytes()
    except OSError:
        return b""
