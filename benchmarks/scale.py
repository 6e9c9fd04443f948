"""A model of a run on many GPUs: step, sum of gradients, stragglers, checkpoints, failures, useful work.

    python -m benchmarks.scale               the tables of docs/scale.md
    python -m benchmarks.scale --measure     gloo processes on this machine: predicted and measured (docs/scale.md)

    step            micro-batches x time of one + update + sum of gradients + waiting for the slowest
    sum             4 P bytes: each rank adds a piece of every other's (all to all), then all gather (engine/ranks.py)
    slowest of R    sigma sqrt(2 ln R)                   the expected largest of R normal numbers, for large R
    a failure       every  HOURS_BETWEEN_FAILURES / R  hours = M
    checkpoints     every  tau = sqrt(2 delta M)  seconds, delta the time that one stops the run
    useful work     (compute / step) (1 - delta / tau - (tau / 2 + restart) / M)

Every constant says where it is from. Sources of the last two lines: Young, CACM 17 (1974); Daly, Future Generation
Computer Systems 22 (2006).
"""

import argparse
import math
from collections.abc import Sequence
from typing import NamedTuple

from mambrane.models.config import ModelConfig
from mambrane.settings import presets
from mambrane.settings.config import RunConfig

NUM_GPUS = (8, 64, 1024)
GPUS_OF_HOST = 8
VOCAB_SIZE = 32_768

NVLINK_BYTES_PER_S = 0.8 * 450e9
"""H100 SXM datasheet: 900 GB/s of NVLink, half of it each way. The factor is an estimate, as in the next line."""
NETWORK_BYTES_PER_S = 0.8 * 50e9
"""Of one GPU: DGX H100 datasheet, eight ports of 400 Gb/s for eight GPUs."""
NVLINK_HOP_S, NETWORK_HOP_S = 3e-6, 10e-6
"""From one rank of a ring to the next. Estimates; NCCL's own tables (src/graph/tuning.cc) have 1 to 14 us."""
JITTER = 0.01
"""Standard deviation of a rank's time for a step, over its mean. An estimate: equal rows, no input to wait for."""
HOURS_BETWEEN_FAILURES = 16_384 * 54 * 24 / 419
"""Of one GPU for each unexpected interruption: 419 in 54 days on 16,384 GPUs. Llama 3, arXiv 2407.21783, 3.3.4."""
BYTES_SAVED = 16
"""Of a parameter: weights, two moments and an average, in float32."""
HOST_COPY_BYTES_PER_S = 20e9
"""From a GPU to its host: PCIe 5 x16 has 63 GB/s, of which unpinned memory reaches a third. An estimate."""
HASH_BYTES_PER_S = 1.5e9
"""SHA-256 with the processor's own instructions on one core, by which ranks compare what they hold at every save.
`openssl speed sha256` says 1.5 to 2 GB/s on an AMD EPYC."""
DISK_BYTES_PER_S = 2e9
"""Of a shared file system, for one writer or reader. An estimate."""
START_S = 120.0
"""Until every process is there, has imported, joined and read its text. An estimate; 8 to 10 s on one machine here."""


class Scaled(NamedTuple):
    """A run on so many GPUs; times in seconds."""

    num_gpus: int
    parameters: int
    tokens_of_step: int
    compute_s: float
    sum_s: float
    wait_s: float
    step_s: float
    save_s: float
    """How long a checkpoint stops the run."""
    save_every_s: float
    restart_s: float
    useful: float
    """Part of the time in which tokens are learned for the first time."""

    @property
    def tokens_per_s(self) -> float:
        """Tokens learned, over all time."""
        return self.useful * self.tokens_of_step / self.compute_s


def handed_on_bytes(config: ModelConfig) -> int:
    """Return what a rank hands to the next for a layer of one sequence that is cut over ranks.

    The state of the scan [E, N] and the sum of delta [E], from which the chunk algebra goes on, and the last K - 1
    inputs of the convolution [E, K-1], in float32 (tests/ops/test_sequence_over_ranks.py).
    """
    channels = config.mamba_expand * config.hidden_dim
    return 4 * channels * (config.mamba_d_state + 1 + config.mamba_d_conv - 1)


def wavefront_use(num_layers: int, num_ranks: int) -> float:
    """Return the part of the time in which a rank works on its piece of one sequence whose neurons are sequential.

    A rank begins a layer when the rank before has ended it: of L + R - 1 turns each rank has L.
    """
    return num_layers / (num_layers + num_ranks - 1)


def sum_seconds(num_bytes: float, num_gpus: int) -> float:
    """Return the time of a sum of gradients over GPUs."""
    if num_gpus == 1:
        return 0.0
    hosts = math.ceil(num_gpus / GPUS_OF_HOST)
    at_hand = min(num_gpus, GPUS_OF_HOST)
    inside = num_bytes * (at_hand - 1) / num_gpus / NVLINK_BYTES_PER_S
    outside = num_bytes * (num_gpus - at_hand) / num_gpus / NETWORK_BYTES_PER_S
    # A ring that gathers crosses from host to host once for each of them, through a port of its own.
    slowest = NVLINK_BYTES_PER_S if hosts == 1 else min(NVLINK_BYTES_PER_S, GPUS_OF_HOST * NETWORK_BYTES_PER_S)
    gather = num_bytes * (num_gpus - 1) / num_gpus / slowest
    hops = (num_gpus - hosts) * NVLINK_HOP_S + (hosts - 1) * NETWORK_HOP_S
    return max(inside, outside) + gather + hops


def useful_share(save_s: float, restart_s: float, between_failures_s: float) -> tuple[float, float]:
    """Return the best time between checkpoints and the part of the time that is then not lost to them and failures."""
    every_s = math.sqrt(2 * save_s * between_failures_s)
    return every_s, max(0.0, 1 - save_s / every_s - (every_s / 2 + restart_s) / between_failures_s)


def scaled(
    num_gpus: int, *, parameters: int, micro_s: float, update_s: float, micro_tokens: int, tokens_of_step: int
) -> Scaled:
    """Return what a run takes on so many GPUs.

    Args:
        num_gpus: each with a whole replica.
        parameters: of the model.
        micro_s: a micro-batch on one GPU, forward and backward.
        update_s: what a step does beside them.
        micro_tokens: tokens of a micro-batch on one GPU; --batch-size is num_gpus times its rows.
        tokens_of_step: of a step on one GPU; with more GPUs than that makes micro-batches of, it grows.
    """
    num_micro = max(1, round(tokens_of_step / (num_gpus * micro_tokens)))
    compute_s = num_micro * micro_s + update_s
    sum_s = sum_seconds(4 * parameters, num_gpus)
    wait_s = JITTER * compute_s * math.sqrt(2 * math.log(num_gpus)) if num_gpus > 1 else 0.0
    step_s = compute_s + sum_s + wait_s
    saved = BYTES_SAVED * parameters
    save_s = saved / HOST_COPY_BYTES_PER_S + saved / HASH_BYTES_PER_S
    restart_s = START_S + saved / DISK_BYTES_PER_S
    every_s, kept = useful_share(save_s, restart_s, 3600 * HOURS_BETWEEN_FAILURES / num_gpus)
    return Scaled(
        num_gpus=num_gpus,
        parameters=parameters,
        tokens_of_step=num_micro * num_gpus * micro_tokens,
        compute_s=compute_s,
        sum_s=sum_s,
        wait_s=wait_s,
        step_s=step_s,
        save_s=save_s,
        save_every_s=every_s,
        restart_s=restart_s,
        useful=compute_s / step_s * kept,
    )


def predicted(config: RunConfig) -> list[Scaled]:
    """Return a preset on each number of GPUs; the micro-batch is rehearsed and predicted as `train --dry-run` does."""
    from mambrane.planning.gpu_time import predict
    from mambrane.planning.rehearsal import rehearse

    rehearsed = rehearse(config, VOCAB_SIZE, "bf16")
    found = predict(config, rehearsed, compiled=True)
    micro_s = max(found.device_s, found.host_s)
    num_micro = config.engine.accumulation_steps
    return [
        scaled(
            num_gpus,
            parameters=rehearsed.parameters,
            micro_s=micro_s,
            update_s=found.step_s - num_micro * micro_s,
            micro_tokens=rehearsed.tokens,
            tokens_of_step=num_micro * rehearsed.tokens,
        )
        for num_gpus in NUM_GPUS
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="gloo processes on this machine in place of GPUs")
    if parser.parse_args(arguments).measure:
        from benchmarks.scale_here import compare

        compare()
        return
    print("| parameters | GPUs | tokens a step | compute, ms | sum, ms | waiting, ms | step, ms ", end="")
    print("| a save stops, s | best every, min | restart, s | useful | tokens/s |")
    print("|---" * 12 + "|")
    for name in ("base", "large", "xl"):
        for each in predicted(presets.PRESETS[name]()):
            print(
                f"| {each.parameters / 1e6:,.0f} M | {each.num_gpus:,} | {each.tokens_of_step:,} "
                f"| {1e3 * each.compute_s:,.1f} | {1e3 * each.sum_s:,.1f} | {1e3 * each.wait_s:,.1f} "
                f"| {1e3 * each.step_s:,.1f} | {each.save_s:.1f} | {each.save_every_s / 60:,.0f} "
                f"| {each.restart_s:,.0f} | {each.useful:.0%} | {each.tokens_per_s:,.3g} |",
                flush=True,
            )
    print("\n| one sequence over ranks | layers | handed on, a layer | 2 ranks | 8 ranks | 64 ranks |")
    print("|---" * 6 + "|")
    for name in ("base", "large", "xl"):
        model = presets.PRESETS[name]().model
        uses = (f"{wavefront_use(model.num_layers, ranks):.0%}" for ranks in (2, 8, 64))
        print(f"| {name} | {model.num_layers} | {handed_on_bytes(model) / 1e3:,.0f} kB | {' | '.join(uses)} |")


if __name__ == "__main__":
    main()
