"""Generation: constant cost and memory to 100,000 tokens, many texts at once, prompts read in pieces.

    python -m benchmarks.generation [--threads 2] [--tokens 100000]

Takes some minutes. Writes benchmarks/results/generation.json and docs/benchmarks.md.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mambrane.app.openmp import limit_openmp_spin

limit_openmp_spin()

import torch

from benchmarks.measuring import MIB, describe_machine, interleaved_ms, medians, peak_memory_bytes
from benchmarks.page import generation_table, save_result
from benchmarks.tiny_hybrid import END_OF_TEXT, build_tiny_hybrid, random_bytes
from mambrane.core.memory import keep_freed_memory
from mambrane.core.seeding import make_generator
from mambrane.engine.snapshot import evaluation_mode
from mambrane.measure.generation import PREFILL_CHUNK_TOKENS, generate_batch, prefill
from mambrane.models.language_model import LanguageModel

POSITIONS = (1_000, 10_000, 100_000)
BATCH_SIZES = (1, 8, 64)
TOKENS_PER_TEXT = 100
STRETCH = 300
TRAINING_SHAPE = (8, 256)
PROMPT_TOKENS = 8_192


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=100_000, help="tokens written one after the other")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    model = build_tiny_hybrid()
    with evaluation_mode(model):
        result = {
            **describe_machine(),
            # First, while no freed memory lies about that could hide its growth.
            "written": written(model, options.tokens),
            "positions": steps_at_positions(model),
            "batches": [throughput(model, batch_size) for batch_size in BATCH_SIZES],
            "reading": reading(model),
        }
    print(generation_table(result))
    save_result("generation", result)


@torch.inference_mode()
def steps_at_positions(model: LanguageModel) -> list[dict[str, Any]]:
    """Time one step behind each number of tokens, in turns, and count what is remembered there."""
    tokens_BT = random_bytes(1, max(POSITIONS))
    states = {str(position): prefill(model, tokens_BT[:, :position], END_OF_TEXT).state for position in POSITIONS}
    token_B = torch.zeros(1, dtype=torch.int64)
    runs = {position: lambda state=state: model.step(token_B, state) for position, state in states.items()}
    middle_ms = medians(interleaved_ms(runs, rounds=300))
    return [
        {"position": int(position), "step_ms": middle_ms[position], "state_kib": state_bytes(state) / 1024}
        for position, state in states.items()
    ]


def state_bytes(state: Any) -> int:  # noqa: ANN401 -- any tree of tuples
    """Return the memory of all tensors in a state."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    return sum(state_bytes(part) for part in state or ())


def throughput(model: LanguageModel, batch_size: int) -> dict[str, Any]:
    """Write texts at once, sampling included; tokens of all texts together."""

    def write() -> None:
        texts = generate_batch(
            model,
            [[END_OF_TEXT]] * batch_size,
            max_tokens=TOKENS_PER_TEXT,
            end_of_text=END_OF_TEXT,
            generators=[make_generator(row, "text") for row in range(batch_size)],
        )
        for _ in texts:
            pass

    return {"batch_size": batch_size, "tokens_per_s": _rate(write, batch_size * TOKENS_PER_TEXT)}


def reading(model: LanguageModel) -> list[dict[str, Any]]:
    """Compare reading prompts in pieces with the forward pass of training."""
    batch_size, length = TRAINING_SHAPE
    sequences_BT, prompt_BT = random_bytes(batch_size, length), random_bytes(1, PROMPT_TOKENS)
    prompts_BT = random_bytes(batch_size, PROMPT_TOKENS // batch_size)
    no_resets_BT = torch.zeros_like(sequences_BT, dtype=torch.bool)
    runs = {
        f"training, forward alone, {batch_size} x {length}": (
            lambda: model(sequences_BT, resets_BT=no_resets_BT),
            sequences_BT.numel(),
        ),
        f"{batch_size} prompts of {PROMPT_TOKENS // batch_size:,}, in pieces of {PREFILL_CHUNK_TOKENS}": (
            lambda: prefill(model, prompts_BT, END_OF_TEXT),
            prompts_BT.numel(),
        ),
        f"one prompt of {PROMPT_TOKENS:,}, in pieces of {PREFILL_CHUNK_TOKENS}": (
            lambda: prefill(model, prompt_BT, END_OF_TEXT),
            prompt_BT.numel(),
        ),
    }
    return [{"name": name, "tokens_per_s": _rate(run, num_tokens)} for name, (run, num_tokens) in runs.items()]


def written(model: LanguageModel, num_tokens: int) -> dict[str, Any]:
    """Write one long text and see how far memory rises; then let it and a fresh text go on in turns."""

    def text() -> Iterator[tuple[int, int]]:
        generator = make_generator(0, "text")
        longest = num_tokens + 2 * STRETCH
        prompt = [END_OF_TEXT]
        return generate_batch(model, [prompt], max_tokens=longest, end_of_text=END_OF_TEXT, generators=[generator])

    def write(texts: Iterator[tuple[int, int]], count: int) -> None:
        for _ in range(count):
            next(texts)

    long, fresh = text(), text()
    write(long, STRETCH)
    growth_bytes = peak_memory_bytes(lambda: write(long, num_tokens - STRETCH))
    write(fresh, 1)
    middle_ms = medians(interleaved_ms({"fresh": lambda: next(fresh), "long": lambda: next(long)}, rounds=STRETCH))
    return {
        "tokens": num_tokens,
        "fresh_ms": middle_ms["fresh"],
        "long_ms": middle_ms["long"],
        "growth_mib": growth_bytes / MIB,
    }


def _rate(run: Callable[[], object], num_tokens: int) -> float:
    """Return tokens per second, the median of five runs after one that is not counted."""
    run()
    return 1e3 * num_tokens / statistics.median(interleaved_ms({"run": run}, rounds=5)["run"])


if __name__ == "__main__":
    main()
