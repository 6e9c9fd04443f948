"""What each continual method and plasticity rule costs, in processor time, at the tiny preset.

    python -m benchmarks.method_cost [--rounds 2] [--arms naive replay ewc ...]

Two tasks of 20 steps of 8 x 128 tokens each. Printed, as Markdown: processor time of a step of the second task over
that of naive training (medians over steps and rounds, so that other programs count little), and the seconds of
processor time that the border between the tasks takes more than there: what is estimated, copied or written once a
task. One thread.
"""

import argparse
import inspect
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from pydoc_data import topics
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mambrane

ARMS: dict[str, dict[str, Any]] = {
    "naive": {},
    "replay": {"use_replay": True},
    "replay by importance": {"use_replay": True, "replay_strategy": "importance"},
    "generated replay, 64 sequences": {"use_replay": True, "replay_source": "generated", "replay_buffer_size": 64},
    "ewc": {"regularizer_strength": 1.0},
    "si": {"regularizer_strength": 1.0, "regularizer": "si"},
    "mas": {"regularizer_strength": 1.0, "regularizer": "mas"},
    "isi-cv": {"regularizer_strength": 1.0, "regularizer": "isi-cv"},
    "distillation": {"distillation_strength": 1.0},
    "reptile": {"reptile_strength": 0.5, "reptile_interval": 5},
    "meta-plasticity": {"use_meta_plasticity": True},
    "STDP homeostatic": {"use_stdp": True},
    "STDP classical": {"use_stdp": True, "stdp_type": "classical"},
    "STDP triplet": {"use_stdp": True, "stdp_type": "triplet"},
    "BCM": {"use_stdp": True, "stdp_type": "bcm"},
}
STEPS = 20
NOT_COUNTED = 4
"""First steps of a task, in which memory is taken for the first time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    chosen = parser.parse_args(arguments)
    found: dict[str, list[tuple[list[float], float]]] = {arm: [] for arm in ["naive", *chosen.arms]}
    with tempfile.TemporaryDirectory() as folder:
        texts = write_texts(Path(folder))
        for number in range(chosen.rounds):
            for arm in found:
                found[arm].append(measure(arm, texts, Path(folder) / f"{arm}-{number}"))
    steps = {arm: statistics.median(time for times, _ in runs for time in times) for arm, runs in found.items()}
    borders = {arm: statistics.median(border for _, border in runs) for arm, runs in found.items()}
    print("| method | a step, ms | over naive | border between tasks, s more |\n|---|---|---|---|")
    for arm, step in steps.items():
        more = borders[arm] - borders["naive"]
        print(f"| {arm} | {1000 * step:.0f} | {step / steps['naive'] - 1:+.0%} | {more:+.1f} |", flush=True)
    return 0


def write_texts(folder: Path) -> Path:
    """Write two texts that come with Python, a task each, and return their folder."""
    texts = folder / "texts"
    texts.mkdir()
    (texts / "code.txt").write_text(inspect.getsource(argparse) + inspect.getsource(inspect), encoding="utf-8")
    (texts / "help.txt").write_text("\n".join(topics.topics.values())[:200_000], encoding="utf-8")
    return texts


def measure(arm: str, texts: Path, output_dir: Path) -> tuple[list[float], float]:
    """Return the processor time of each step of the second task, and that of the border before it, in seconds."""
    off = {"use_replay": False, "use_stdp": False, "use_meta_plasticity": False}
    config = mambrane.configure(
        preset="tiny", data=[texts], output_dir=output_dir, epochs=2, epoch_tokens=STEPS * 8 * 128, tokenizer="bpe:512",
        max_heldout_bytes=1024, **{**off, **ARMS[arm]},
    )  # fmt: skip
    seen: list[tuple[str, int, float]] = []

    def note(event: dict[str, Any]) -> None:
        seen.append((event["event"], event.get("task", -1), time.process_time()))

    mambrane.train(config, listeners=[note])
    steps = [at for kind, task, at in seen if kind == "step" and task == 1]
    last = max(at for kind, task, at in seen if kind == "step" and task == 0)
    ended = next(at for kind, task, at in seen if kind == "task_finished" and task == 0)
    started = next(at for kind, task, at in seen if kind == "task_started" and task == 1)
    times = [after - before for before, after in itertools.pairwise(steps)][NOT_COUNTED:]
    return times, (ended - last) + (steps[0] - started)


if __name__ == "__main__":
    sys.exit(main())
