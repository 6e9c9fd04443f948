"""Train with Mambrane and its peers on the same cases, and say who was right.

    python -m benchmarks.engine_peers [--engines transformers accelerate fabric mambrane]

The first run makes an environment for each peer (benchmarks/environments.py), which takes minutes. With all engines,
docs/engine-peers.md and benchmarks/results/engine_peers.json are written. Ends with 0 if Mambrane is right in each row.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.engine_peers.cases import CASES, Finding
from benchmarks.engine_peers.engines import REQUIREMENTS, TITLES, Engine
from benchmarks.engine_peers.report import Findings, page, plain_table, results, table
from benchmarks.environments import ROOT
from benchmarks.page import write_result


def examine(name: str, folder: Path, findings: Findings) -> dict[str, str]:
    """Take an engine through every case in every way; returns the versions of its packages."""
    with Engine(name, folder) as engine:
        for case in CASES:
            found: dict[str, Finding] = {}
            for way in case.ways_of(name):
                found[way] = case.examine(engine, way)
                label = f"{TITLES[name]}{', ' + way if way else ''}"
                print(f"{case.title} | {label} | {found[way].verdict}: {found[way].text}", flush=True)
            findings.setdefault(case.name, {})[name] = found
        return engine.versions


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each answer, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=list(REQUIREMENTS), default=list(REQUIREMENTS))
    options = parser.parse_args(arguments)
    findings: Findings = {}
    with tempfile.TemporaryDirectory() as folder:
        versions = {name: examine(name, Path(folder), findings) for name in options.engines}
    print("\n" + plain_table(table(findings, options.engines)))
    print("\n" + "\n".join(f"{TITLES[name]}: {packages}" for name, packages in versions.items()))
    if options.engines == list(REQUIREMENTS):
        write_result("engine_peers", results(findings, versions))
        (ROOT / "docs" / "engine-peers.md").write_text(page(findings, versions))
    own = [finding for engines in findings.values() for finding in engines.get("mambrane", {}).values()]
    return 0 if own and all(finding.verdict == "right" for finding in own) else 1


if __name__ == "__main__":
    sys.exit(main())
