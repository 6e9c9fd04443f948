"""How far a micro-batch is from its floor in processor time, on one thread: `python -m benchmarks.floor`.

`benchmarks.step` says so in time that passes, which on a machine with other work is that of the neighbours too. Here
products, copying and the micro-batch, forward and backward, are called in turns in one process, and of each the least
processor time counts. The base preset takes about five seconds a round.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from mambrane.app.openmp import limit_openmp_spin

limit_openmp_spin()

import torch

from benchmarks.step import COPY_FLOATS, VOCABULARY, RandomText, floor_ms, with_everything
from mambrane.core.memory import keep_freed_memory
from mambrane.engine.objective import fused_next_token_objective
from mambrane.ops.linear import linear
from mambrane.run.build import build_model

WARM_UP = 2


def measure(preset: str, rounds: int) -> str:
    """Return a row of the table."""
    config, vocab_size = with_everything(preset), VOCABULARY[preset]
    model, batch = build_model(config, vocab_size), RandomText(config, vocab_size).batches[0]
    rows, dim = config.data.batch_size * config.data.sequence_length, config.model.hidden_dim
    leaves = [torch.randn(rows, dim, requires_grad=True), torch.randn(4 * dim, dim, requires_grad=True)]
    gradient = torch.ones(rows, 4 * dim)
    source = torch.ones(COPY_FLOATS)
    target = torch.empty_like(source)

    def step() -> None:
        fused_next_token_objective(model, batch).loss_sum.backward()
        model.zero_grad(set_to_none=True)

    runs: dict[str, Callable[[], object]] = {
        "step": step,
        "oneDNN": lambda: torch.autograd.grad(linear(*leaves, backend="onednn"), leaves, gradient),
        "PyTorch": lambda: torch.autograd.grad(linear(*leaves, backend="reference"), leaves, gradient),
        "copy": lambda: target.copy_(source),
    }
    least_ms = dict.fromkeys(runs, float("inf"))
    for turn in range(WARM_UP + rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if turn >= WARM_UP:
                least_ms[name] = min(least_ms[name], 1e3 * (time.process_time() - start))
    rate = 6e-6 * rows * dim * 4 * dim / min(least_ms["oneDNN"], least_ms["PyTorch"])
    copied = 8e-6 * COPY_FLOATS / least_ms["copy"]
    floor = sum(floor_ms(config, model, {"block": rate}, copied).values())
    return (
        f"| {preset} | {rate:.0f} | {copied:.0f} | {floor:.1f} | {least_ms['step']:.1f} "
        f"| {100 * floor / least_ms['step']:.0f} % |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=VOCABULARY, default=["tiny"])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    print("| preset | products, GFLOP/s | copying, GB/s | floor, ms | micro-batch, ms | floor / micro-batch |")
    print("|---|---:|---:|---:|---:|---:|")
    for preset in options.presets:
        print(measure(preset, options.rounds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
