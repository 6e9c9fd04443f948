"""The main job, made small: five files as domains, every switch on, run through the real command line."""

import os
import random
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SWITCHES = (
    "--continual-learning --num-tasks 5 --use-stdp --use-meta-plasticity --use-replay --regularizer-strength 1 "
    "--distillation-strength 1 --use-mamba --integration-mode bidirectional --spike-to-mamba-method temporal "
    "--use-adaptive-gating --num-gate-heads 4 --use-cross-attention --cross-attn-heads 4 --ema-decay 0.9 --dropout 0.1"
)
SIZE = (
    "--preset tiny --epochs 5 --tokenizer bytes --hidden-dim 32 --num-layers 1 --spiking-units 16 --mamba-d-state 4 "
    "--sequence-length 32 --batch-size 4 --accumulation-steps 2 --save-every 3 --fisher-sequences 2 "
    "--replay-buffer-size 16"
)

SMALL_JOB = {
    "preset": "tiny",
    "epochs": 2,
    "num-tasks": 2,
    "hidden-dim": 32,
    "num-layers": 1,
    "spiking-units": 16,
    "num-gate-heads": 4,
    "cross-attn-heads": 4,
    "sequence-length": 32,
    "batch-size": 5,
    "accumulation-steps": 2,
    "save-every": 4,
    "replay-buffer-size": 16,
    "replay-strategy": "importance",
    "regularizer-strength": 1,
    "fisher-sequences": 4,
    "distillation-strength": 1,
    "device": "cpu",
}
"""Settings of two short tasks with every method on, for several processes; by the names of their flags."""


def write_domains(folder: Path) -> Path:
    """Write five small texts, each of its own words, and return their folder."""
    folder.mkdir()
    for index in range(5):
        draw = random.Random(index)
        words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 7))) for _ in range(30)]
        lines = (" ".join(draw.choices(words, k=9)) for _ in range(40))
        (folder / f"domain{index}.txt").write_text("\n".join(lines) + "\n")
    return folder


def flags_of(settings: Mapping[str, object]) -> list[str]:
    """Return settings, by the names of their flags, as words of a command line."""
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def train_words(data: Path, output: Path, *extra: str) -> list[str]:
    """Return the command."""
    script = str(ROOT / "scripts" / "cli.py")
    words = [*SIZE.split(), *SWITCHES.split(), "--data", str(data), "--output-dir", str(output), *extra]
    return [sys.executable, script, "train", *words]


def environment(cache: Path) -> dict[str, str]:
    """Return an environment with one thread and a cache of its own."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MAMBRANE_CACHE": str(cache), "COLUMNS": "160"}


def train(data: Path, output: Path, *extra: str, largest_file: int | None = None) -> subprocess.CompletedProcess:
    """Run the command to its end; the system refuses to let a file grow beyond `largest_file` bytes."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run(
        train_words(data, output, *extra),
        capture_output=True,
        text=True,
        check=False,
        env=environment(data.parent / "cache"),
        preexec_fn=limit,
    )


def newest_weights(output: Path) -> dict[str, bytes]:
    """Return the weight files of the newest checkpoint."""
    newest = max(path for path in (output / "checkpoints").iterdir() if path.name[5:].isdigit())
    return {name: (newest / f"{name}.safetensors").read_bytes() for name in ("model", "ema")} | {
        "step": newest.name.encode()
    }
