"""Random numbers come from named generators, and from nowhere else."""

import torch

from mambrane.core.seeding import derive_seed, make_generator


def test_a_seed_depends_on_every_name():
    seeds = {
        derive_seed(0, "a"),
        derive_seed(1, "a"),
        derive_seed(0, "b"),
        derive_seed(0, "a", 1),
        derive_seed(0, "a/1x"),
    }
    assert len(seeds) == 5
    assert derive_seed(3, "weights") == derive_seed(3, "weights")


def test_drawing_for_one_purpose_does_not_move_another():
    before = torch.rand(3, generator=make_generator(0, "order"))
    torch.rand(100, generator=make_generator(0, "replay"))
    assert torch.equal(before, torch.rand(3, generator=make_generator(0, "order")))
    assert not torch.equal(before, torch.rand(3, generator=make_generator(0, "replay")))


def test_nothing_touches_the_global_generator():
    before = torch.get_rng_state()
    torch.rand(3, generator=make_generator(0, "x"))
    assert torch.equal(before, torch.get_rng_state())
