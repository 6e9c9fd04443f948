"""Lessons killed at random times: each must end with the weights of one that nobody killed.

    python benchmarks/kill_and_learn.py --run runs/first --data later/ --kills 20 --seed 0 --min-gain 9

A copy of the run learns the text in a process that is sent SIGKILL after a random part of the time that it takes; the
same call is then run to its end, and its weights are compared byte for byte. With a --min-gain that no text reaches,
each lesson ends by being taken back.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LESSON = "import mambrane, sys; sys.exit(mambrane.learn(*sys.argv[1:3], min_gain=float(sys.argv[3])).outcome.exit_code)"


def weights_of(run: Path) -> dict[str, bytes]:
    """Return the weight files of the newest checkpoint."""
    newest = max(path for path in (run / "checkpoints").iterdir() if path.name[5:].isdigit())
    return {path.name: path.read_bytes() for path in newest.glob("*.safetensors")}


def main() -> None:
    """Kill, finish, compare; leaves with 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a finished run")
    parser.add_argument("--data", required=True, help="a text that the run does not know")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--min-gain", type=float, default=0.0)
    options = parser.parse_args()
    draw, same = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-c", LESSON, folder + "/run", options.data, str(options.min_gain)]
        shutil.copytree(options.run, folder + "/run")
        started_s = time.perf_counter()
        ended = subprocess.run(words, check=False).returncode
        whole_s, expected = time.perf_counter() - started_s, weights_of(Path(folder, "run"))
        for number in range(options.kills):
            shutil.rmtree(folder + "/run")
            shutil.copytree(options.run, folder + "/run")
            process = subprocess.Popen(words)
            time.sleep(draw.uniform(0, whole_s))
            process.send_signal(signal.SIGKILL)
            process.wait()
            is_same = subprocess.run(words, check=False).returncode == ended
            is_same = is_same and weights_of(Path(folder, "run")) == expected
            same += is_same
            print(f"kill {number + 1}: {'the same weights' if is_same else 'OTHER WEIGHTS'}", flush=True)
    print(f"{same} of {options.kills} ended with the weights of the lesson that nobody killed (exit code {ended})")
    sys.exit(same != options.kills)


if __name__ == "__main__":
    main()
