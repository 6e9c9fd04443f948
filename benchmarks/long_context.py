"""Cost of a token as sequences grow: flat in time, linear in memory.

    python -m benchmarks.long_context [--threads 2] [--rounds 5]

Writes benchmarks/results/long_context.json and docs/benchmarks.md.
"""

import argparse
import functools
import json
import subprocess
import sys
from collections.abc import Sequence

from mambrane.app.openmp import limit_openmp_spin

limit_openmp_spin()

import torch
from torch import Tensor

from benchmarks.environments import ROOT
from benchmarks.measuring import MIB, describe_machine, interleaved_ms, medians, peak_memory_bytes
from benchmarks.page import long_context_table, save_result
from benchmarks.tiny_hybrid import build_tiny_hybrid, random_bytes
from mambrane.core.memory import keep_freed_memory
from mambrane.data.batch import MicroBatch
from mambrane.engine.objective import next_token_objective
from mambrane.models.language_model import LanguageModel

LENGTHS = (256, 1_024, 4_096, 16_384)
TOKENS_PER_STEP = 16_384


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure time for equal numbers of tokens in every step, and memory of a single sequence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-of", type=int, metavar="TOKENS", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    model = build_tiny_hybrid()
    if options.memory_of:
        step(model, random_bytes(1, 128))
        tokens_BT = random_bytes(1, options.memory_of)
        print(json.dumps(peak_memory_bytes(lambda: step(model, tokens_BT)) / MIB))
        return

    batches = {length: random_bytes(TOKENS_PER_STEP // length, length) for length in LENGTHS}
    runs = {str(length): functools.partial(step, model, batch) for length, batch in batches.items()}
    interleaved_ms(runs, rounds=1)
    middle_ms = medians(interleaved_ms(runs, rounds=options.rounds))
    lengths = [
        {
            "tokens": length,
            "batch_size": TOKENS_PER_STEP // length,
            "us_per_token": 1e3 * middle_ms[str(length)] / TOKENS_PER_STEP,
        }
        for length in LENGTHS
    ]
    memory = [{"tokens": length, "peak_mib": memory_in_a_fresh_process(length, options.threads)} for length in LENGTHS]
    result = {**describe_machine(), "rounds": options.rounds, "lengths": lengths, "memory": memory}
    print(long_context_table(result))
    save_result("long_context", result)


def step(model: LanguageModel, tokens_BT: Tensor) -> None:
    """Run forward and backward as training does."""
    no_resets_BT = torch.zeros_like(tokens_BT, dtype=torch.bool)
    loss, _ = next_token_objective(model, MicroBatch(tokens_BT, tokens_BT.roll(-1, dims=1), no_resets_BT))
    model.zero_grad()
    (loss / tokens_BT.numel()).backward()


def memory_in_a_fresh_process(tokens: int, threads: int) -> float:
    """Return the peak of a step on one sequence, in MiB, after a step on a short one."""
    words = [sys.executable, "-m", "benchmarks.long_context", "--memory-of", str(tokens), "--threads", str(threads)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
