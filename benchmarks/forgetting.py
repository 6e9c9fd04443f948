"""Forgetting on the five built-in domains at equal tokens: naive training, replay, everything on.

    python benchmarks/forgetting.py [--epochs 30] [--seeds 0] [--arms naive replay everything] [--output-dir DIR]

Each arm is the real command, `mambrane train --preset tiny`, with the switches below; a run that is there already is
resumed or read. Printed: bits per byte averaged over the domains at the end, learned loss, forgetting, backward
transfer (definitions in mambrane/continual/forgetting_metrics.py), and how much of naive training's forgetting each arm
avoids.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from mambrane.continual.matrix_file import load_matrix

MODEL = [
    "--preset",
    "tiny",
    "--continual-learning",
    "--num-tasks",
    "5",
    "--use-mamba",
    "--integration-mode",
    "bidirectional",
    "--spike-to-mamba-method",
    "temporal",
    "--mamba-expand",
    "2",
    "--mamba-d-state",
    "32",
    "--mamba-d-conv",
    "4",
    "--use-adaptive-gating",
    "--num-gate-heads",
    "8",
    "--use-cross-attention",
    "--cross-attn-heads",
    "16",
]
WITHOUT = ["--no-use-stdp", "--no-use-meta-plasticity", "--no-use-replay"]
"""The switches that arms differ in, all off, whatever the preset says; of two forms of a flag the later one counts."""
ARMS = {
    "naive": [*WITHOUT],
    "replay": [*WITHOUT, "--use-replay"],
    "meta-plasticity": [*WITHOUT, "--use-meta-plasticity"],
    "stdp": [*WITHOUT, "--use-stdp"],
    "regularizer": [*WITHOUT, "--regularizer-strength", "1"],
    "distillation": [*WITHOUT, "--distillation-strength", "1"],
    "everything": ["--use-stdp", "--use-meta-plasticity", "--use-replay"],
}
SHOWN = ("final_average", "learned_average", "forgetting", "backward_transfer")


def run(arm: str, seed: int, epochs: int, folder: Path) -> dict[str, float | None]:
    """Train one arm, or go on with it, and return its metrics in bits per byte."""
    output = folder / f"{arm}-epochs{epochs}-seed{seed}"
    words = [*MODEL, *ARMS[arm], "--epochs", str(epochs), "--seed", str(seed), "--output-dir", str(output)]
    subprocess.run([sys.executable, str(ROOT / "scripts" / "cli.py"), "train", *words], check=True)
    return {name: metric.value for name, metric in load_matrix(output / "matrix.json").metrics().items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every arm with every seed and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", default=["naive", "replay", "everything"], choices=list(ARMS))
    parser.add_argument("--output-dir", type=Path, default=Path("runs/forgetting"))
    options = parser.parse_args(arguments)

    rows = {arm: [run(arm, s, options.epochs, options.output_dir) for s in options.seeds] for arm in options.arms}
    forgetting = {arm: statistics.fmean(result["forgetting"] for result in results) for arm, results in rows.items()}
    print(
        f"\n| arm, seeds {options.seeds} | "
        + " | ".join(n.replace("_", " ") for n in SHOWN)
        + " | forgetting avoided |"
    )
    print("|---" * (len(SHOWN) + 2) + "|")
    for arm, results in rows.items():
        avoided = "-"
        if arm != "naive" and "naive" in rows:
            avoided = f"{100 * (1 - forgetting[arm] / forgetting['naive']):.0f} %"
        print(f"| {arm} | " + " | ".join(_mean_and_range(results, name) for name in SHOWN) + f" | {avoided} |")


def _mean_and_range(results: list[dict[str, float | None]], name: str) -> str:
    values = [result[name] for result in results]
    spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
