"""Random streams do not disturb each other and survive a restart."""

import pytest
import torch

from mambrane.core.seeding import RandomStreams, derive_seed, make_generator


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


def test_drawing_from_one_stream_does_not_move_another():
    quiet, busy = RandomStreams(0), RandomStreams(0)
    torch.rand(100, generator=busy["replay"])
    assert torch.equal(torch.rand(3, generator=quiet["order"]), torch.rand(3, generator=busy["order"]))


def test_streams_go_on_after_a_restart():
    streams = RandomStreams(0)
    torch.rand(5, generator=streams["replay"])
    state = streams.state_dict()
    expected = torch.rand(5, generator=streams["replay"])
    resumed = RandomStreams(0)
    resumed.load_state_dict(state)
    assert torch.equal(torch.rand(5, generator=resumed["replay"]), expected)


def test_streams_of_another_seed_are_refused():
    with pytest.raises(ValueError, match="seed 0"):
        RandomStreams(1).load_state_dict(RandomStreams(0).state_dict())


def test_nothing_touches_the_global_generator():
    before = torch.get_rng_state()
    torch.rand(3, generator=make_generator(0, "x"))
    assert torch.equal(before, torch.get_rng_state())
