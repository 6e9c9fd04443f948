"""Trains with weights in pieces, as one of torchrun's processes: -m tests.engine.sharded_ranks FOLDER."""

import sys
from pathlib import Path

import torch

from mambrane.engine.extensions import Extensions
from mambrane.engine.ranks import ONE_RANK, open_ranks
from mambrane.engine.shards import own_numbers, shard_, whole_state
from tests.engine.several_ranks import ACCUMULATION_STEPS, CPU, SCENARIOS, CountRows, told, train
from tests.engine.tiny_training import TinyModel, make_batches, make_trainer, next_token_objective

HALF = 4
"""Micro-batches before a run is taken up by another number of processes."""
PRECISIONS = dict.fromkeys(SCENARIOS, "fp32") | {"infinite in one row": "fp16"}
RESUMED = make_batches(2 * HALF, rows=5)


class Pieces(CountRows):
    """Counts rows, and says that it reads no weights."""

    across_shards = True


def tiny_in_pieces(ranks):
    model = TinyModel()
    shard_(model, [model.hidden], ranks, CPU)
    return model


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

    def trained(batches, precision="fp32", **options):
        found = train(batches, precision, ranks=ranks, model=tiny_in_pieces(ranks), **options)
        held = {part: bytes_held(found["state"][part]) for part in ("weights", "optimizer")}
        return whole_state(found, keeps=True) | {"bytes held": held}

    found = {name: trained(SCENARIOS[name], precision) for name, precision in PRECISIONS.items()}
    in_pieces = trained(RESUMED[:HALF])
    alone = train(RESUMED[:HALF])
    found |= {
        "begun in pieces": train(RESUMED[HALF:], state=in_pieces["state"]),
        "ended in pieces": trained(RESUMED[HALF:], state=alone["state"]),
        "counted": trained(make_batches(4, rows=5), extensions=Extensions(after_steps=(Pieces(),))),
        "a stop on one rank": trained(make_batches(6), should_stop=stop_on_the_last_rank),
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
