"""One virtual environment for each peer, made once and found again, so that no peer decides the version of another."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def environment_python(name: str, *requirements: str) -> Path:
    """Return the interpreter of an environment that holds Mambrane, the torch of constraints.txt and `requirements`.

    The environment lies under the cache folder (`MAMBRANE_CACHE`, or `~/.cache/mambrane`) in `peers/`; its name carries
    a digest of what was asked for, so a changed version makes a new one. An unfinished one is made again.

    Args:
        name: A word for people, such as `norse`.
        requirements: What pip is asked for, with pinned versions.

    Raises:
        subprocess.CalledProcessError: pip could not install it; its output was printed.
    """
    constraints = ROOT / "constraints.txt"
    asked_for = "\n".join([sys.version, constraints.read_text(), *sorted(requirements)])
    digest = hashlib.sha256(asked_for.encode()).hexdigest()[:8]
    cache = Path(os.environ.get("MAMBRANE_CACHE", Path.home() / ".cache" / "mambrane"))
    folder = cache / "peers" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    finished = folder / "finished"
    if not finished.exists():
        print(f"installing {' '.join(requirements)} into {folder}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        words = ["-m", "pip", "install", "--quiet", "-c", constraints, "-e", ROOT, *requirements]
        subprocess.run([python, *words], check=True)
        finished.touch()
    return python
