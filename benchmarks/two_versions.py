"""Two checkouts of Mambrane in turns, in one run: `python -m benchmarks.two_versions OLD NEW`.

With `--hybrid`: forward and backward of the hybrid model of the tiny preset, every part on, in place of all this; both
checkouts must have the block of today.

Each checkout works in a process of its own, with the Python of its own environment, and is asked for one call after the
other, so that whatever else the machine does meets both. Time is that of the processor, all threads together, which
other programs change least. Only what both have is compared: operations forward and
backward at the sizes of the tiny preset, and a whole step of the engine with a plain Mamba. Before a time is taken,
both must have computed the same numbers.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

B, T, D, E, N, S, K, HEADS, WINDOW, VOCAB = 8, 128, 128, 256, 32, 64, 4, 16, 32, 1024
SAME = 1e-4
"""Largest relative difference of the sum of absolute numbers: the order of a sum may have changed."""


def cases() -> dict[str, Callable[[], list[Any]]]:
    """Return what is called, by name; each call returns the tensors that it made. Written for old versions too."""
    import torch

    from mambrane.ops.causal_conv import causal_conv
    from mambrane.ops.causal_trace import causal_trace
    from mambrane.ops.gated_skip import gated_skip
    from mambrane.ops.lif import lif
    from mambrane.ops.linear_cross_entropy import linear_cross_entropy
    from mambrane.ops.selective_scan import selective_scan
    from mambrane.ops.spike_pairs import spike_pairs
    from mambrane.ops.windowed_attention import windowed_attention

    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Any:  # noqa: ANN401 -- torch is imported above
        return torch.randn(*shape, generator=generator)

    def differentiated(call: Callable[..., Any], *inputs: Any) -> Callable[[], list[Any]]:  # noqa: ANN401
        leaves = [each.requires_grad_() for each in inputs]

        def run() -> list[Any]:
            output = call(*leaves)
            output = output if isinstance(output, torch.Tensor) else output[0]
            return [output, *torch.autograd.grad(output.square().sum(), leaves)]

        return run

    resets_BT = torch.rand(B, T, generator=generator) < 0.02
    targets_BT = torch.randint(VOCAB, (B, T), generator=generator)
    spikes = [(torch.rand(B, T, S, generator=generator) < 0.15).float() for _ in range(4)]
    decay_S = torch.rand(S, generator=generator) * 0.3 + 0.6
    steps_BTE = torch.rand(B, T, E, generator=generator) * 0.1

    def pairs() -> list[Any]:
        found = spike_pairs(spikes[:2], spikes[2:], decay_plus=0.95, decay_minus=0.95, resets_BT=resets_BT)
        return [found.causal_NUS, found.acausal_NUS]

    return {
        "lif": differentiated(lambda x, d: lif(x, d, resets_BT=resets_BT), draw(B, T, S), decay_S),
        "selective_scan": differentiated(
            lambda x, d, A, b, c: selective_scan(x, d, A, b, c, resets_BT=resets_BT),
            *(draw(B, T, E), steps_BTE, -torch.arange(1.0, N + 1).repeat(E, 1), draw(B, T, N), draw(B, T, N)),
        ),
        "causal_conv": differentiated(lambda x, w, b: causal_conv(x, w, b), draw(B, T, E), draw(E, K), draw(E)),
        "causal_trace": differentiated(lambda x: causal_trace(x, 0.95), draw(B, T, S)),
        "gated_skip": differentiated(gated_skip, draw(B, T, E), draw(B, T, E), draw(E), draw(B, T, E)),
        "windowed_attention": differentiated(
            lambda q, k, v: windowed_attention(q, k, v, heads=HEADS, window=WINDOW),
            *(draw(B, T, D // 2) for _ in range(3)),
        ),
        "linear_cross_entropy": differentiated(
            lambda x, w: linear_cross_entropy(x, w, targets_BT), draw(B, T, D), draw(VOCAB, D) * 0.05
        ),
        "spike_pairs (STDP)": pairs,
        "step of a plain Mamba": _engine_step(draw),
        HYBRID: _hybrid(),
    }


def _engine_step(draw: Callable[..., Any]) -> Callable[[], list[Any]]:
    """Return a call of one step of the engine: forward, backward, clip, AdamW, schedule, counters."""
    import torch

    from mambrane.core.events import EventLog
    from mambrane.data.batch import MicroBatch
    from mambrane.engine.config import EngineConfig
    from mambrane.engine.trainer import Trainer

    tokens = torch.randint(VOCAB, (B, T + 1), generator=torch.Generator().manual_seed(1))
    batch = MicroBatch(tokens[:, :-1].clone(), tokens[:, 1:].clone(), torch.zeros(B, T, dtype=torch.bool))

    class Loader:
        """The same micro-batch for ever."""

        def epoch_batches(self) -> Iterator[Any]:
            while True:
                yield batch

        def commit(self) -> None: ...

        def rewind(self) -> None: ...

    model = _plain_mamba()
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters(), key=lambda named: (named[1].numel(), named[0])):
            if parameter.ndim == 2 and parameter.shape[1] != N:
                parameter.copy_(0.05 * draw(*parameter.shape))
    config = EngineConfig(accumulation_steps=1, learning_rate=1e-3)
    trainer = Trainer(model, config, device=torch.device("cpu"), events=EventLog())
    trainer.begin_task(1_000_000)
    steps = getattr(trainer, "steps", None) or trainer.windows
    results = steps(Loader())

    def run() -> list[Any]:
        return [torch.tensor(next(results).loss)]

    return run


def _hybrid() -> Callable[[], list[Any]]:
    """Return a call of the model of the tiny preset, every part on, forward and backward; the first makes it."""
    import torch

    made: list[Any] = []

    def run() -> list[Any]:
        from mambrane.models.config import ModelConfig
        from mambrane.models.language_model import LanguageModel

        if not made:
            parts = {"use_mamba": True, "use_adaptive_gating": True, "use_cross_attention": True}
            sizes = {
                "hidden_dim": D,
                "num_layers": 2,
                "spiking_units": S,
                "mamba_d_state": N,
                "cross_attn_window": WINDOW,
            }
            generator = torch.Generator().manual_seed(3)
            made.append(LanguageModel(ModelConfig(**parts, **sizes), VOCAB, generator))
            made[0].reset_parameters(generator)
            made.append(torch.randint(VOCAB, (B, T + 1), generator=generator))
        model, tokens = made
        nats = model(tokens[:, :-1].contiguous(), targets_BT=tokens[:, 1:].contiguous()).nats_BT
        nats.sum().backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        model.zero_grad(set_to_none=True)
        return [nats, *gradients]

    return run


def _plain_mamba() -> Any:  # noqa: ANN401 -- of either version
    import torch

    generator = torch.Generator().manual_seed(2)
    if find_spec("mambrane.models.mamba_language_model") is None:
        from mambrane.models.config import ModelConfig
        from mambrane.models.language_model import LanguageModel

        sizes = {"hidden_dim": D, "num_layers": 2, "mamba_d_state": N, "mamba_d_conv": K}
        return LanguageModel(ModelConfig(block_pattern="mamba", **sizes), VOCAB, generator)
    # Until 2026-11-27 the plain Mamba was a model of its own.
    kind = import_module("mambrane.models.mamba_language_model").MambaLanguageModel
    return kind(VOCAB, dim=D, num_layers=2, generator=generator, d_state=N, d_conv=K)


def work() -> None:
    """Answer each name on standard input with the time of a call in milliseconds, and a sum of its numbers."""
    found = cases()
    for line in sys.stdin:
        name = line.strip()
        start = time.process_time()
        made = found[name]()
        milliseconds = 1e3 * (time.process_time() - start)
        sums = [float(each.detach().double().abs().sum()) for each in made]
        sys.stdout.write(json.dumps({"ms": milliseconds, "sums": sums}) + "\n")
        sys.stdout.flush()


class Worker:
    """The process of one checkout."""

    def __init__(self, checkout: Path, threads: int) -> None:
        python = checkout.resolve() / ".venv" / "bin" / "python"
        self.process = subprocess.Popen(
            [str(python), str(Path(__file__).resolve()), "--work"],
            cwd=checkout,
            env={"PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": "5000"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, name: str) -> dict[str, Any]:
        """Return the answer to one call."""
        assert self.process.stdin is not None, "it is a pipe"
        assert self.process.stdout is not None, "it is a pipe"
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.process.args!r} has ended")
        return json.loads(line)


HYBRID = "hybrid model, every part on"
NAMES = (
    "lif",
    "selective_scan",
    "causal_conv",
    "causal_trace",
    "gated_skip",
    "windowed_attention",
    "linear_cross_entropy",
    "spike_pairs (STDP)",
    "step of a plain Mamba",
)


def compare(old: Path, new: Path, *, names: Sequence[str], rounds: int, threads: int) -> Iterator[str]:
    """Yield a line of the table for each case."""
    workers = [Worker(old, threads), Worker(new, threads)]
    yield "| | old, ms (fastest) | new, ms (fastest) | new / old, median of pairs | middle half of the pairs |"
    yield "|---|---:|---:|---:|---|"
    for name in names:
        for _ in range(3):
            answers = [worker.call(name) for worker in workers]
        for one, other in zip(*(answer["sums"] for answer in answers), strict=True):
            assert math.isclose(one, other, rel_tol=SAME), f"{name}: {one} and {other} are not the same"
        times: list[list[float]] = [[], []]
        for turn in range(rounds):
            for which in (0, 1) if turn % 2 else (1, 0):
                times[which].append(workers[which].call(name)["ms"])
        ratios = [after / before for before, after in zip(*times, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        shown = [f"{statistics.median(each):.2f} ({min(each):.2f})" for each in times]
        yield f"| {name} | {shown[0]} | {shown[1]} | {middle:.3f} | {low:.3f} to {high:.3f} |"
    for worker in workers:
        worker.process.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, nargs="?", help="a checkout with its environment in .venv")
    parser.add_argument("new", type=Path, nargs="?", help="the other one")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hybrid", action="store_true", help="the hybrid model in place of operations and plain Mamba")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        work()
        return 0
    if options.old is None or options.new is None:
        parser.error("two checkouts")
    names = (HYBRID,) if options.hybrid else NAMES
    for line in compare(options.old, options.new, names=names, rounds=options.rounds, threads=options.threads):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
