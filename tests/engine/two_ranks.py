"""Runs every scenario of test_ranks.py as one of two processes: -m tests.engine.two_ranks RANK MEETING_POINT RESULT."""

import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from mambrane.core.errors import UserError
from mambrane.engine.extensions import Extensions
from tests.engine.tiny_training import (
    INFINITE,
    AddOne,
    Drift,
    EventList,
    ListLoader,
    TinyModel,
    make_batch,
    make_batches,
    make_trainer,
)

ACCUMULATION_STEPS, TOTAL_STEPS = 2, 6


class OneBranchOnRankOne(TinyModel):
    """Its hidden layer gets a gradient on rank 0 only."""

    def forward(self, inputs_BT, *, resets_BT=None):
        if dist.is_initialized() and dist.get_rank() == 1:
            return super().forward(inputs_BT)._replace(logits_BTV=self.scores(torch.ones(*inputs_BT.shape, 8).double()))
        return super().forward(inputs_BT)


SCENARIOS = {
    "unequal tokens": ([make_batch(n, num_targets=n + 1) for n in range(5)], make_batches(5, seed=1)),
    "one rank without a target": (make_batches(4), make_batches(4, seed=1, num_targets=0)),
    "different lengths": (make_batches(7), make_batches(4, seed=1)),
    "one rank without data": ([], make_batches(4, seed=1)),
    "different micro-batch sizes": (make_batches(4, rows=5), make_batches(4, seed=1, rows=1)),
    "infinite on one rank": (
        make_batches(6),
        [*make_batches(3, seed=1), make_batch(8, first_token=INFINITE), *make_batches(2, seed=2)],
    ),
    "no target anywhere": (make_batches(2, num_targets=0), make_batches(2, seed=1, num_targets=0)),
}
"""The micro-batches of rank 0 and of rank 1."""


def train(batches, precision, *, model=None, should_stop=lambda: False, **config):
    """Train one epoch; returns what can be compared."""
    events = EventList()
    trainer = make_trainer(
        TinyModel() if model is None else model,
        precision=precision,
        events=events,
        should_stop=should_stop,
        accumulation_steps=ACCUMULATION_STEPS,
        total_steps=TOTAL_STEPS,
        **config,
    )
    loader = ListLoader(batches)
    results, carried = [], []
    for result in trainer.steps(loader):
        results.append(result)
        carried.append(len(trainer.carried))
    state = trainer.state_dict()
    return {
        "states": [result.state.name for result in results],
        "losses": [result.loss for result in results],
        "norms": [result.gradient_norm for result in results],
        "weights": state["weights"],
        "counters": state["counters"],
        "scale": trainer.precision.scale,
        "cursor": loader.state_dict(),
        "carried": carried,
    }


class LookBack(Drift):
    """A boundary."""

    def boundary(self, view):
        pass


REFUSED = {
    "batch mixer": Extensions(batch_mixers=(AddOne(),)),
    "after step": Extensions(after_steps=(Drift(),)),
    "boundary": Extensions(boundaries=(LookBack(),)),
}


def refusal(extensions):
    """Return what is told of these extensions, and how many steps were closed before."""
    trainer, results = make_trainer(extensions=extensions), []
    try:
        results += trainer.steps(ListLoader(make_batches(2)))
    except UserError as error:
        return {"told": str(error), "steps": trainer.counters.closed}
    return {"told": "", "steps": len(results)}


def main() -> None:
    rank, meeting_point, result_file = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2, timeout=timedelta(minutes=4)
    )
    results = {
        f"{name}, {precision}": train(batches[rank], precision)
        for name, batches in SCENARIOS.items()
        for precision in ("fp32", "fp16")
    }
    results["a branch on one rank"] = train(make_batches(4, seed=rank), "fp32", model=OneBranchOnRankOne())
    results["a tail on one rank"] = train(make_batches(6 - 3 * rank), "fp32", tail_policy="carry")
    polls = []

    def stop_on_rank_one() -> bool:
        polls.append(1)
        # The second micro-batch of the second step.
        return rank == 1 and len(polls) >= 6

    results["refused"] = {seam: refusal(extensions) for seam, extensions in REFUSED.items()}
    results["a stop on one rank"] = train(make_batches(6, seed=rank), "fp16", should_stop=stop_on_rank_one)
    torch.save(results, result_file)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
