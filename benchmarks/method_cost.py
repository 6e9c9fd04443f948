"""What each continual method and plasticity rule costs, in processor time, at the tiny preset.

    python -m benchmarks.method_cost [--rounds 3] [--arms replay ewc ...]

An arm is a page of docs/methods with the settings that turn its method on. Two tasks of 24 steps of 8 x 128 tokens.
Measured: processor time of a step of the second task over that of naive training (medians over steps and rounds, so
that other programs count little), and the seconds of processor time that the border between the tasks takes more than
there: what is estimated, copied or written once a task. One thread. All arms together are written to
benchmarks/results/method_cost.json, from which `python -m scripts.method_pages` takes the numbers of its pages.
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
from benchmarks.measuring import describe_machine
from benchmarks.page import write_result
from scripts import method_pages

NAIVE = "activity"
"""The page of what is always on."""
SMALLER: dict[str, dict[str, Any]] = {
    "generated-replay": {"replay_buffer_size": 64},
    "reptile": {"reptile_interval": 5},
}
"""Settings of an arm beside those that turn it on, so that a short run shows what a long one costs."""
STEPS = 24
NOT_COUNTED = 4
"""First steps of a task, in which memory is taken for the first time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write down where every arm was measured."""
    heads = {path.stem: method_pages.head_of(path.read_text(encoding="utf-8")) for path in method_pages.pages()}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", default=sorted(heads), choices=sorted(heads))
    chosen = parser.parse_args(arguments)
    found: dict[str, list[tuple[list[float], float]]] = {arm: [] for arm in [NAIVE, *chosen.arms]}
    with tempfile.TemporaryDirectory() as folder:
        texts = write_texts(Path(folder))
        for number in range(chosen.rounds):
            for arm in found:
                settings = {**heads[arm].turn_on, **SMALLER.get(arm, {})}
                found[arm].append(measure(settings, texts, Path(folder) / f"{arm}-{number}"))
    steps = {arm: statistics.median(time for times, _ in runs for time in times) for arm, runs in found.items()}
    borders = {arm: statistics.median(border for _, border in runs) for arm, runs in found.items()}
    print("| method | a step, ms | over naive | border between tasks, s more |\n|---|---|---|---|")
    costs = {}
    for arm, step in steps.items():
        over, more = step / steps[NAIVE] - 1, borders[arm] - borders[NAIVE]
        costs[arm] = {"step_ms": round(1000 * step, 2), "over_naive": round(over, 3), "border_s": round(more, 2)}
        print(f"| {arm} | {1000 * step:.1f} | {over:+.0%} | {more:+.1f} |", flush=True)
    if set(costs) == set(heads):
        write_result("method_cost", {**describe_machine(), "rounds": chosen.rounds, "smaller": SMALLER, "costs": costs})
    return 0


def write_texts(folder: Path) -> Path:
    """Write two texts that come with Python, a task each, and return their folder."""
    texts = folder / "texts"
    texts.mkdir()
    (texts / "code.txt").write_text(inspect.getsource(argparse) + inspect.getsource(inspect), encoding="utf-8")
    (texts / "help.txt").write_text("\n".join(topics.topics.values())[:200_000], encoding="utf-8")
    return texts


def measure(settings: dict[str, Any], texts: Path, output_dir: Path) -> tuple[list[float], float]:
    """Return the processor time of each step of the second task, and that of the border before it, in seconds."""
    off = {"use_replay": False, "use_stdp": False, "use_meta_plasticity": False}
    config = mambrane.configure(
        preset="tiny", data=[texts], output_dir=output_dir, epochs=2, epoch_tokens=STEPS * 8 * 128, tokenizer="bpe:512",
        max_heldout_bytes=1024, **{**off, **settings},
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
