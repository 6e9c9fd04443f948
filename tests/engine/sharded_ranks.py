"""Trains with weights in pieces, as one of torchrun's processes: -m tests.engine.sharded_ranks FOLDER."""

import sys
from pathlib import Path

import torch

from mambrane.continual.config import ContinualConfig
from mambrane.continual.regularizer import Regularizer
from mambrane.continual.reptile import Reptile
from mambrane.engine.extensions import Extensions
from mambrane.engine.ranks import ONE_RANK, open_ranks
from mambrane.engine.shards import is_sharded, own_numbers, shard_, whole_state
from mambrane.plasticity.config import PlasticityConfig
from mambrane.plasticity.meta_plasticity import MetaPlasticity
from tests.engine.several_ranks import (
    ACCUMULATION_STEPS,
    CPU,
    DROPOUT_SCENARIOS,
    SCENARIOS,
    CountRows,
    told,
    train,
    with_dropout,
)
from tests.engine.tiny_training import ListLoader, TinyModel, make_batches, make_trainer, next_token_objective

HALF = 4
"""Micro-batches before a run is taken up by another number of processes."""
PRECISIONS = dict.fromkeys(SCENARIOS, "fp32") | {"infinite in one row": "fp16"}
RESUMED = make_batches(2 * HALF, rows=5)


METHODS = {
    "meta-plasticity": lambda model: MetaPlasticity(PlasticityConfig(meta_lr=0.1), model),
    "permuted importance": lambda model: MetaPlasticity(PlasticityConfig(meta_control="permuted"), model),
    "even plasticity": lambda model: MetaPlasticity(PlasticityConfig(meta_control="uniform"), model),
    "ewc": lambda model: Regularizer(regularized_by("ewc"), model, seed=0),
    "mas": lambda model: Regularizer(regularized_by("mas"), model, seed=0),
    "si": lambda model: Regularizer(regularized_by("si"), model, seed=0),
    "Reptile": lambda model: Reptile(
        ContinualConfig(continual_learning=True, reptile_strength=0.3, reptile_interval=3), model
    ),
}
"""Methods that read weights and gradients, for a model."""


def regularized_by(method):
    return ContinualConfig(continual_learning=True, regularizer=method, regularizer_strength=0.3, fisher_sequences=3)


class Pieces(CountRows):
    """Counts rows, and says that it reads no weights."""

    across_shards = True


def tiny_in_pieces(ranks, model=None):
    model = TinyModel() if model is None else model
    shard_(model, [model.hidden], ranks, CPU)
    return model


def two_tasks(method, models, ranks):
    """Learn two tasks, each with a model and a trainer of its own that take up the state of the last, whole.

    Args:
        method: name in METHODS.
        models: what makes each task's model.
        ranks: of the models that lie in pieces.
    """
    state, numbers = None, []
    for task, make_model in enumerate(models):
        model = make_model()
        options = {"ranks": ranks} if is_sharded(model) else {}
        extensions = Extensions.of(METHODS[method](model))
        trainer = make_trainer(model, extensions=extensions, accumulation_steps=ACCUMULATION_STEPS, **options)
        if state is not None:
            trainer.load_state_dict(state)
            trainer.begin_task(5)
        loader = ListLoader(make_batches(9, seed=task, rows=3))
        numbers += [result.numbers for result in trainer.steps(loader)]
        trainer.end_task(loader, task)
        state = whole_state(trainer.state_dict(), keeps=True)
    return {"numbers": numbers, "weights": state["weights"], "extensions": state["extensions"]}


def methods_in_pieces(ranks):
    """Return what each method gives in pieces throughout, until the second task, and from then on."""

    def pieces():
        return tiny_in_pieces(ranks)

    ways = {
        "in pieces": (pieces, pieces),
        "begun in pieces": (pieces, TinyModel),
        "ended in pieces": (TinyModel, pieces),
    }
    return {method: {way: two_tasks(method, models, ranks) for way, models in ways.items()} for method in METHODS}


def out_of_memory_once(model, batch):
    next_token_objective(model, batch)
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory")


def bytes_held(tree):
    """Return the bytes of this rank's numbers in a tree of tensors."""
    if isinstance(tree, torch.Tensor):
        return own_numbers(tree).numel() * tree.element_size() if tree.ndim else 0
    return sum(map(bytes_held, tree.values())) if isinstance(tree, dict) else 0


def scenarios(ranks):
    polls = []

    def stop_on_the_last_rank():
        polls.append(1)
        return ranks.rank == ranks.size - 1 and len(polls) >= 6

    def trained(batches, precision="fp32", model=None, **options):
        found = train(batches, precision, ranks=ranks, model=tiny_in_pieces(ranks, model), **options)
        held = {part: bytes_held(found["state"][part]) for part in ("weights", "optimizer")}
        return whole_state(found, keeps=True) | {"bytes held": held}

    found = {name: trained(SCENARIOS[name], precision) for name, precision in PRECISIONS.items()}
    found |= {f"{name}, dropout": trained(SCENARIOS[name], model=with_dropout()) for name in DROPOUT_SCENARIOS}
    in_pieces = trained(RESUMED[:HALF])
    alone = train(RESUMED[:HALF])
    found |= {
        "begun in pieces": train(RESUMED[HALF:], state=in_pieces["state"]),
        "ended in pieces": trained(RESUMED[HALF:], state=alone["state"]),
        "counted": trained(make_batches(4, rows=5), extensions=Extensions(after_steps=(Pieces(),))),
        "a stop on one rank": trained(make_batches(6), should_stop=stop_on_the_last_rank),
        "methods": methods_in_pieces(ranks),
        "refused": told(lambda: trained([], extensions=Extensions(after_steps=(CountRows(),)))),
        "too large": told(
            lambda: list(
                make_trainer(tiny_in_pieces(ranks), objective=out_of_memory_once, ranks=ranks).training_step.run(
                    make_batches(1), applied=0
                )
            )
        ),
    }
    return found


def main():
    torch.set_num_threads(1)
    assert ACCUMULATION_STEPS > 1, "sums over micro-batches and over ranks are both taken"
    assert ONE_RANK.size == 1
    with open_ranks(CPU, timeout_s=60.0) as ranks:
        torch.save(scenarios(ranks), Path(sys.argv[1]) / f"rank-{ranks.rank}.pt")


if __name__ == "__main__":
    main()
