"""Tokens per second of one text: the model token by token, the compiled program, and the floor that memory sets.

    python benchmarks/decoding.py                 the preset tiny
    python benchmarks/decoding.py --model 130m    a plain Mamba of 130 M parameters, drawn at random

Times are the best of several rounds, one thread for the program; the floor is the time in which one thread reads every
weight of a step once.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from mambrane.core.seeding import make_generator
from mambrane.measure.decoding import ModelDecoder, ProgramDecoder
from mambrane.measure.sampling import Sampling
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from mambrane.settings import presets

MODELS: dict[str, Callable[[], tuple[ModelConfig, int]]] = {
    "tiny": lambda: (presets.tiny().model, 1024),
    "130m": lambda: (ModelConfig(block_pattern="mamba", hidden_dim=768, num_layers=24), 50_280),
}


def best_seconds(run: Callable[[], object], calls: int, rounds: int) -> float:
    """Return the seconds of a call in the best round."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        times.append((time.perf_counter() - start) / calls)
    return min(times)


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=list(MODELS), default="tiny")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    config, vocab_size = MODELS[options.model]()
    model = LanguageModel(config, vocab_size, make_generator(0, "weights")).eval()
    calls = 20 if options.model == "tiny" else 1
    sampling, generator = Sampling(), make_generator(0, "draw")
    rates = {}
    for name, kind in (("model", ModelDecoder), ("program", ProgramDecoder)):
        decoder = kind(model, vocab_size - 1)
        decoder.read([1, 2, 3])

        def step(decoder: ModelDecoder | ProgramDecoder = decoder) -> None:
            decoder.read([decoder.draw(sampling, generator, vocab_size - 1)])

        rates[name] = 1.0 / best_seconds(step, calls, options.rounds)
    numbers = np.ones(max(sum(weight.numel() for weight in model.parameters()), 1), dtype=np.float32)
    floor = 1.0 / best_seconds(numbers.sum, calls, options.rounds)
    print(
        json.dumps(
            {
                "model": options.model,
                "parameters": numbers.size,
                "tokens_per_s": {name: round(rate, 1) for name, rate in rates.items()},
                "times_the_model": round(rates["program"] / rates["model"], 1),
                "one_pass_over_the_weights_per_s": round(floor, 1),
                "threads_of_torch": torch.get_num_threads(),
            }
        )
    )


if __name__ == "__main__":
    main()
