"""A small run for tests that look at what a run gives, trained in this process."""

import os
from pathlib import Path

from mambrane.app.cli import main
from tests.contract.main_job import write_domains

SIZE = (
    "--preset tiny --epochs 2 --num-tasks 2 --hidden-dim 32 --num-layers 1 --spiking-units 16 --mamba-d-state 4 "
    "--num-gate-heads 4 --cross-attn-heads 4 --sequence-length 32 --batch-size 4 --epoch-tokens 512 "
    "--replay-buffer-size 16"
)


def train_small(folder: Path, *words: str) -> Path:
    """Train on two small texts below the folder, with its cache there, and return the folder of the run."""
    os.environ["MAMBRANE_CACHE"] = str(folder / "cache")
    data = folder / "texts" if (folder / "texts").exists() else write_domains(folder / "texts")
    run = folder / "run"
    assert main(["train", *SIZE.split(), "--data", str(data), "--output-dir", str(run), *words]) == 0
    return run
