"""What a further text costs the older ones, by what protects them, beside fine-tuning without protection.

    python benchmarks/open_stream.py --run runs/first --data later/ [--arms default unprotected]

Each arm is a copy of the finished run that learns the text.

    default                    as `mambrane learn` does where no flag says otherwise: the recipe of later tasks
    own settings               the epochs and the settings that the run gave each of its own tasks
    unprotected                the same without replay, meta-plasticity and penalties: plain fine-tuning
    unprotected, same epochs   plain fine-tuning for as many epochs as the default has
    generated, both            own settings, with text that the model writes itself in place of, or beside, stored text

Printed for each: the mean change of the older domains (forgetting), the loss on the new one, its gain, and the time.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import mambrane
from mambrane.settings.later_task import recipe_of, usual_epochs


def arms_of(config: mambrane.RunConfig) -> dict[str, dict[str, Any]]:
    """Return the settings of each arm for a run."""
    own = {
        "epochs": usual_epochs(config),
        "learning_rate": config.engine.learning_rate,
        "replay_fraction": config.continual.replay_fraction,
        "use_meta_plasticity": config.plasticity.use_meta_plasticity,
    }
    unprotected = {
        "use_replay": False,
        "use_meta_plasticity": False,
        "regularizer_strength": 0.0,
        "distillation_strength": 0.0,
    }
    return {
        "default": {},
        "own settings": own,
        "unprotected": {"epochs": usual_epochs(config), **unprotected},
        "unprotected, same epochs": {"epochs": recipe_of(config, {}).num_epochs, **unprotected},
        "generated": {**own, "use_replay": True, "replay_source": "generated"},
        "both": {**own, "use_replay": True, "replay_source": "both"},
    }


NAMES = list(arms_of(mambrane.presets.tiny()))


def main() -> None:
    """Learn the text in each arm and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a finished run")
    parser.add_argument("--data", required=True, help="one text that the run does not know")
    parser.add_argument("--arms", nargs="+", default=NAMES, choices=NAMES)
    options = parser.parse_args()
    arms = arms_of(mambrane.Run.open(options.run).config)
    print("| arm | forgetting of the older | loss on the new | gain | seconds |\n|---|---|---|---|---|", flush=True)
    for arm in options.arms:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            shutil.copytree(options.run, run)
            started_s = time.perf_counter()
            learned = mambrane.learn(run, options.data, **arms[arm])
            seconds = time.perf_counter() - started_s
            task, matrix = learned.tasks.tasks[-1], learned.matrix
            assert matrix is not None, "a run that has learned has a matrix"
            loss = matrix.value_after(matrix.num_tasks - 1)
            print(
                f"| {arm} | {task['forgetting']:+.4f} | {loss:.4f} | {task['gain']:.4f} | {seconds:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
