"""Characters of tiny-shakespeare: the hybrid model beside its ablations and a GPT, all trained by the same engine.

    python benchmarks/tiny_shakespeare.py --data PATH/tinyshakespeare.txt [--seeds 0 1 2] [--models hybrid mamba ...]

Every model has at most 0.83 M parameters and sees 2,000 steps of 12 x 64 characters, on the first 90 % of the text.
Validation reads the whole last 10 % in sequences of 64 characters that each start from nothing. For comparison, the
published CPU run of nanoGPT reaches 1.88 nats per character at the same budget (karpathy/nanoGPT, README). The text is
the one published in karpathy/char-rnn (1,115,394 bytes).
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.gpt import Gpt
from mambrane.core.device import describe_environment
from mambrane.core.events import EventLog
from mambrane.core.seeding import make_generator
from mambrane.data.loader import SequenceLoader
from mambrane.data.tokens import TokenFile, token_file_from
from mambrane.engine.config import EngineConfig
from mambrane.engine.extensions import Extensions
from mambrane.engine.method import Method
from mambrane.engine.objective import next_token_objective
from mambrane.engine.trainer import Trainer
from mambrane.measure.metrics import heldout_loss
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel
from mambrane.plasticity.activity import ActivityProbe

NUM_STEPS, BATCH_SIZE, SEQUENCE_LENGTH = 2_000, 12, 64
MAX_PARAMETERS = 830_000
CHARACTERS = 66
"""Of the text, with its end; `MAX_PARAMETERS` is for so many."""
PUBLISHED_NANOGPT_NATS = 1.88

HYBRID = ModelConfig(
    hidden_dim=128,
    num_layers=7,
    spiking_units=32,
    use_mamba=True,
    integration_mode="bidirectional",
    # The states that pay for the neurons, so that it is no larger than the plain Mamba.
    mamba_d_state=15,
)
MAMBA = ModelConfig(block_pattern="mamba", hidden_dim=128, num_layers=7)
SPIKING = ModelConfig(hidden_dim=128, num_layers=9, spiking_units=128)
# Plain Mambas whose products read spikes: -1, 0 and 1, or whole numbers up to 4.
TERNARY, COUNTS = (replace(MAMBA, block_pattern=kind) for kind in ("ternary", "counts"))


class CharacterTokenizer:
    """A token for each character that occurs, and one more for the end of the text."""

    name = "characters"

    def __init__(self, text: bytes) -> None:
        self._alphabet = np.unique(np.frombuffer(text, dtype=np.uint8))
        self.end_of_text = len(self._alphabet)
        self.vocab_size = self.end_of_text + 1

    def encode(self, text: bytes) -> np.ndarray:
        """Return the number of each character."""
        return np.searchsorted(self._alphabet, np.frombuffer(text, dtype=np.uint8)).astype(np.uint16)

    def decode(self, tokens: np.ndarray) -> bytes:
        """Return the characters of these numbers."""
        return self._alphabet[np.asarray(tokens, dtype=np.int64)].tobytes()

    def state_dict(self) -> dict[str, Any]:
        """Return the alphabet."""
        return {"kind": self.name, "alphabet": self._alphabet.tolist()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A model and the learning rate that suits it."""

    build: Callable[[int, torch.Generator], nn.Module]
    learning_rate: float


CONTENDERS = {
    "hybrid": Contender(build=lambda vocab, g: LanguageModel(HYBRID, vocab, g), learning_rate=3e-3),
    "mamba": Contender(build=lambda vocab, g: LanguageModel(MAMBA, vocab, g), learning_rate=3e-3),
    "spiking only": Contender(build=lambda vocab, g: LanguageModel(SPIKING, vocab, g), learning_rate=3e-3),
    "gpt": Contender(
        build=lambda vocab, g: Gpt(vocab, dim=128, num_layers=4, heads=4, context=SEQUENCE_LENGTH, generator=g),
        learning_rate=3e-3,
    ),
    "ternary": Contender(build=lambda vocab, g: LanguageModel(TERNARY, vocab, g), learning_rate=3e-3),
    "counts": Contender(build=lambda vocab, g: LanguageModel(COUNTS, vocab, g), learning_rate=3e-3),
}


def train(
    contender: Contender,
    seed: int,
    train_tokens: TokenFile,
    vocab_size: int,
    *,
    num_steps: int = NUM_STEPS,
    method: Callable[[nn.Module], Method] | None = None,
) -> tuple[nn.Module, dict]:
    """Train one model, with a method's loss term where one is given; returns it and its last numbers."""
    device = torch.device("cpu")
    model = contender.build(vocab_size, make_generator(seed, "weights"))
    config = EngineConfig(
        accumulation_steps=1,
        learning_rate=contender.learning_rate,
        warmup_ratio=0.05,
        min_learning_rate_ratio=0.0,
    )
    parts = [ActivityProbe()] if isinstance(model, LanguageModel) else []
    extensions = Extensions.of(*parts, *([method(model)] if method else []))
    trainer = Trainer(model, config, device=device, events=EventLog(), extensions=extensions)
    loader = SequenceLoader(
        [train_tokens], sequence_length=SEQUENCE_LENGTH, batch_size=BATCH_SIZE, seed=seed, name="tiny-shakespeare"
    )
    trainer.begin_task(num_steps)
    while True:
        for result in trainer.steps(loader):
            if trainer.counters.applied == num_steps:
                return model, result.numbers


def measure(name: str, seed: int, train_tokens: TokenFile, heldout: TokenFile, vocab_size: int) -> dict[str, Any]:
    """Train and evaluate one model with one seed."""
    start_s = time.perf_counter()
    model, numbers = train(CONTENDERS[name], seed, train_tokens, vocab_size)
    row = {"model": name, "seed": seed, **judged(model, numbers, heldout, vocab_size)}
    return row | {"seconds": time.perf_counter() - start_s}


def judged(model: nn.Module, numbers: dict, heldout: TokenFile, vocab_size: int) -> dict[str, Any]:
    """Evaluate a trained model, with the numbers of its last training sequences."""
    parameters = sum(p.numel() for p in model.parameters())
    # A longer alphabet makes the embedding longer, not the model larger.
    at_most = MAX_PARAMETERS + max(0, vocab_size - CHARACTERS) * HYBRID.hidden_dim
    assert parameters <= at_most, f"{parameters:,} parameters, more than {at_most:,}"
    loss = heldout_loss(
        model,
        heldout,
        sequence_length=SEQUENCE_LENGTH,
        batch_size=64,
        device=torch.device("cpu"),
        objective=next_token_objective,
    )
    rates = {key.removeprefix("activity/"): value for key, value in numbers.items() if "rate" in key}
    return {
        "parameters": parameters,
        "nats_per_character": loss.nats_per_token,
        "firing_rate": rates.get("firing_rate"),
        "firing_rates": rates,
        "spikes_are_binary": spikes_are_binary(model, heldout) if isinstance(model, LanguageModel) else None,
    }


@torch.inference_mode()
def spikes_are_binary(model: LanguageModel, heldout: TokenFile) -> bool:
    """Return whether every spike on a stretch of held-out text is exactly 0 or 1."""
    tokens_BT = torch.from_numpy(heldout.tokens[: 16 * SEQUENCE_LENGTH].astype(np.int64)).view(16, SEQUENCE_LENGTH)
    activity = model(tokens_BT).activity
    spikes = [s for block in activity for s in (block.pre_spikes_BTS, block.post_spikes_BTS) if s is not None]
    return all(bool(((s == 0) | (s == 1)).all()) for s in spikes)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table: one row a model, mean and range over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="tinyshakespeare.txt")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    options = parser.parse_args(arguments)

    text = options.data.read_bytes()
    tokenizer = CharacterTokenizer(text)
    cut = len(text) * 9 // 10
    train_tokens, heldout = (token_file_from([part], tokenizer) for part in (text[:cut], text[cut:]))
    results = []
    for name in options.models:
        for seed in options.seeds:
            results.append(measure(name, seed, train_tokens, heldout, tokenizer.vocab_size))
            print(
                "  ".join(f"{key}={value}" for key, value in results[-1].items() if key != "firing_rates"), flush=True
            )
    environment = describe_environment(torch.device("cpu"))
    print_table(results, options.models, environment)
    if options.output:
        options.output.write_text(json.dumps({"environment": environment, "results": results}, indent=1) + "\n")


def print_table(results: list[dict], models: Sequence[str], environment: dict) -> None:
    """Print mean and range of the validation loss, and the mean firing rate."""
    print(f"\n| model | parameters | nats per character, mean (range) | firing rate | seconds |\n|{'---|' * 5}")
    for name in models:
        rows = [row for row in results if row["model"] == name]
        losses = [row["nats_per_character"] for row in rows]
        rates = [row["firing_rate"] for row in rows if row["firing_rate"] is not None]
        rate = f"{100 * statistics.mean(rates):.1f} %" if rates else "-"
        spread = f"{statistics.mean(losses):.3f} ({min(losses):.3f} to {max(losses):.3f})"
        seconds = statistics.mean(row["seconds"] for row in rows)
        print(f"| {name} | {rows[0]['parameters']:,} | {spread} | {rate} | {seconds:.0f} |")
    print(f"| nanoGPT, published | about 0.80 M | {PUBLISHED_NANOGPT_NATS} | - | - |")
    print(f"\n{environment}")


if __name__ == "__main__":
    main()
