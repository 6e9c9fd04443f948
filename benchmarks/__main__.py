"""Run the benchmarks of speed, one after the other, each in a process of its own.

    python -m benchmarks [--only operators step long_context generation]

Takes about half an hour on 2 cores and some minutes more the first time, for the environments of the peers; nothing
else should run meanwhile. Writes benchmarks/results/ and docs/benchmarks.md, and prints what docs/performance.md shows.
The other benchmarks train models for an hour or more and are called by their own names: engine_peers, forgetting,
kill_and_resume, mamba_versions, tiny_shakespeare.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.environments import ROOT

NAMES = ("operators", "step", "long_context", "generation")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen ones; return 1 if one failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=NAMES, default=NAMES, help="all where not given")
    failed = []
    for name in parser.parse_args(arguments).only:
        print(f"\n{name}\n", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=ROOT).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
