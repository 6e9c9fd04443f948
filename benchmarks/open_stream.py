"""What a further text costs the older ones, by what protects them, beside fine-tuning without protection.

    python benchmarks/open_stream.py --run runs/first --data later/ [--arms default unprotected]

Each arm is a copy of the finished run that learns the text, with the run's own epochs unless the arm says others.
Printed for each: the mean change of the older domains (forgetting), the loss on the new one, its gain, and the time.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import mambrane

ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "generated": {"use_replay": True, "replay_source": "generated"},
    "both": {"use_replay": True, "replay_source": "both"},
    "more passes": {"use_meta_plasticity": False, "epochs": 24, "learning_rate": 2e-3, "replay_fraction": 0.4},
    "unprotected": {"use_replay": False, "use_meta_plasticity": False, "regularizer_strength": 0.0},
}


def main() -> None:
    """Learn the text in each arm and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a finished run")
    parser.add_argument("--data", required=True, help="one text that the run does not know")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    options = parser.parse_args()
    print("| arm | forgetting of the older | loss on the new | gain | seconds |\n|---|---|---|---|---|")
    for arm in options.arms:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            shutil.copytree(options.run, run)
            started_s = time.perf_counter()
            learned = mambrane.learn(run, options.data, **ARMS[arm])
            seconds = time.perf_counter() - started_s
            task, matrix = learned.tasks.tasks[-1], learned.matrix
            assert matrix is not None, "a run that has learned has a matrix"
            loss = matrix.value_after(matrix.num_tasks - 1)
            print(
                f"| {arm} | {task['forgetting']:+.4f} | {loss:.4f} | {task['gain']:.4f} | {seconds:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
