"""Runs every scenario of test_ranks.py as one of torchrun's processes: -m tests.engine.several_ranks FOLDER."""

import sys
from pathlib import Path

import pytest
import torch

from mambrane.continual.importance import output_sensitivity, sampled_fisher
from mambrane.core.errors import UserError
from mambrane.core.seeding import make_generator
from mambrane.engine import ranks as ranks_module
from mambrane.engine.extensions import Extensions, StepChange
from mambrane.engine.ranks import ONE_RANK, Ranks, RanksDifferError, open_ranks
from mambrane.layers.dropout import Dropout
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
CPU = torch.device("cpu")

SCENARIOS = {
    "unequal tokens": [make_batch(n, num_targets=n + 1) for n in range(5)],
    "rows that do not divide": make_batches(4, rows=5),
    "fewer rows than processes": make_batches(4, rows=1),
    "a tail": make_batches(7),
    "infinite in one row": [*make_batches(3), make_batch(8, first_token=INFINITE), *make_batches(2, seed=2)],
    "no target anywhere": make_batches(2, num_targets=0),
}
"""The micro-batches of the run, the same on every rank."""
DROPOUT_SCENARIOS = ("unequal tokens", "rows that do not divide", "fewer rows than processes", "no target anywhere")


def train(
    batches, precision="fp32", *, ranks=ONE_RANK, should_stop=lambda: False, extensions=None, model=None, state=None
):
    """Train one epoch, from a state of a trainer on where one is given; returns what can be compared."""
    trainer = make_trainer(
        TinyModel() if model is None else model,
        precision=precision,
        events=EventList(),
        should_stop=should_stop,
        extensions=extensions,
        accumulation_steps=ACCUMULATION_STEPS,
        total_steps=TOTAL_STEPS,
        ranks=ranks,
    )
    if state is not None:
        trainer.load_state_dict(state)
    loader = ListLoader(batches)
    results = list(trainer.steps(loader))
    state = trainer.state_dict()
    return {
        "state": state,
        "states": [result.state.name for result in results],
        "losses": [result.loss for result in results],
        "norms": [result.gradient_norm for result in results],
        "numbers": [result.numbers for result in results],
        "weights": state["weights"],
        "counters": state["counters"],
        "scale": trainer.precision.scale,
        "cursor": loader.state_dict(),
    }


class CountRows(Drift):
    """Shows how many rows the step had, summed as an extension should."""

    across_ranks = True

    def after_step(self, view):
        rows = torch.tensor(float(sum(len(batch.inputs_BT) for batch in view.micro_batches)))
        view.ranks.sum_(rows)
        return StepChange({"rows": rows})


class LookBack(Drift):
    """A boundary."""

    def boundary(self, view):
        pass


REFUSED = {
    "batch mixer": {"batch_mixers": (AddOne(),)},
    "after step": {"after_steps": (Drift(),)},
    "boundary": {"boundaries": (LookBack(),)},
}


def with_dropout():
    """Return a model that drops half of its hidden numbers."""
    model = TinyModel()
    model.dropout = Dropout(0.5, seed=3)
    return model


def told(function):
    """Return what a user is told when this is refused."""
    try:
        function()
    except UserError as error:
        return str(error)
    return ""


def sums_of_many_types(ranks):
    """Return counts, doubles and floats summed together in one exchange, in two, and in several chunks."""
    draw = torch.Generator().manual_seed(ranks.rank)
    drawn = [torch.randint(9, (5,), generator=draw), torch.randn(7, 3, generator=draw)]
    drawn += [torch.randn(2, generator=draw, dtype=torch.float64), torch.randn((), generator=draw)]
    ways = {}
    for way, sizes in {"one exchange": {}, "two": {"WHOLE_BYTES": 0}, "chunks": {"CHUNK_BYTES": 40}}.items():
        ways[way] = [tensor.clone() for tensor in drawn]
        with pytest.MonkeyPatch.context() as patch:
            for name, value in sizes.items():
                patch.setattr(ranks_module, name, value)
            ranks.sum_(*ways[way])
    return {"drawn": drawn, **ways}


def rank_primitives(ranks):
    """Return what each collective gives on this rank."""
    numbers, whole = torch.arange(3.0) + 10 * ranks.rank, torch.ones(2, 2) * ranks.rank
    ranks.sum_(numbers, whole)
    order = []
    ranks.first_before_others(lambda: order.append(ranks.rank))
    return {
        "sums": [numbers, whole],
        "gathered": ranks.gather(f"rank {ranks.rank}"),
        "all": [ranks.all_true(True), ranks.all_true(ranks.rank == 0), ranks.all_true(False)],
        "equal": told(lambda: ranks.require_equal({"a": torch.ones(2), "b": torch.zeros(1)})),
        "unequal": told(lambda: ranks.require_equal({"a": torch.ones(2), "b": torch.full((1,), float(ranks.rank))})),
        "of many types": sums_of_many_types(ranks),
        "rows": [part.tolist() for part in ranks.rows(make_batch(0, rows=5))[:1]],
    }


def importance(ranks):
    """Return what the processes find together about seven sequences."""
    sequences = [make_batch(number, rows=1, num_targets=3 + number % 3) for number in range(7)]
    return {
        estimate.__name__: estimate(
            TinyModel(), sequences, generator=make_generator(0, "labels"), device=CPU, ranks=ranks
        )
        for estimate in (sampled_fisher, output_sensitivity)
    }


def scenarios(ranks: Ranks) -> dict:
    """Return what every scenario gives on this rank."""
    polls = []

    def stop_on_the_last_rank() -> bool:
        polls.append(1)
        # The second micro-batch of the second step.
        return ranks.rank == ranks.size - 1 and len(polls) >= 6

    trained = {
        f"{name}, {precision}": train(batches, precision, ranks=ranks)
        for name, batches in SCENARIOS.items()
        for precision in ("fp32", "fp16")
    }
    dropped = {
        f"{name}, dropout": train(SCENARIOS[name], ranks=ranks, model=with_dropout()) for name in DROPOUT_SCENARIOS
    }
    return (
        trained
        | dropped
        | {
            "primitives": rank_primitives(ranks),
            "refused": {
                seam: told(lambda seams=seams: train([], ranks=ranks, extensions=Extensions(**seams)))
                for seam, seams in REFUSED.items()
            },
            "importance": importance(ranks),
            "counted": train(make_batches(4, rows=5), ranks=ranks, extensions=Extensions(after_steps=(CountRows(),))),
            "a stop on one rank": train(make_batches(6), "fp16", ranks=ranks, should_stop=stop_on_the_last_rank),
        }
    )


def main() -> None:
    torch.set_num_threads(1)
    with open_ranks(CPU, timeout_s=120.0) as ranks:
        assert issubclass(RanksDifferError, UserError)
        torch.save(scenarios(ranks), Path(sys.argv[1]) / f"rank-{ranks.rank}.pt")


if __name__ == "__main__":
    main()
