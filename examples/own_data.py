"""Text of your own, a task for each file; then one more, which may cost the others little: `own_data.py TEXTS MORE`."""

import sys
from dataclasses import replace
from pathlib import Path

import mambrane


def main(texts: str, more: str, config: mambrane.RunConfig, output_dir: str = "runs/own-data") -> mambrane.Run:
    """Train on every file of a folder, learn one more, and print what each was at its best and is now."""
    num_tasks = len(list(Path(texts).iterdir()))
    config = replace(
        config,
        run=replace(config.run, output_dir=output_dir, epochs=max(config.run.epochs, num_tasks)),
        data=replace(config.data, data=(texts,)),
        continual=replace(config.continual, num_tasks=num_tasks),
    )
    mambrane.train(config, listeners=[mambrane.ConsoleListener()])
    run = mambrane.learn(output_dir, more, max_forgetting=0.05)
    matrix = run.matrix
    for column, domain in enumerate(matrix.domains):
        values = [row[column] for row in matrix.values if row[column] is not None]
        print(f"{domain}: best {min(values):.3f}, now {values[-1]:.3f} {matrix.measure.unit}")
    print("taken back:", ", ".join(run.outcome.taken_back) or "nothing")
    return run


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], mambrane.presets.tiny())
