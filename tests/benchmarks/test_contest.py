"""A comparison refuses to speak of time where the two sides compute different things."""

import pytest
import torch

from benchmarks.operators.catalogue import CATALOGUE, requirement
from benchmarks.operators.contest import Contest, ParityError, Side, check_parity


def side(scale=1.0, output=1.0):
    x = torch.linspace(0.1, 1.0, 10).requires_grad_()
    return Side(lambda: output * x.sin() * scale, {"x": x}, torch.ones(10))


def check(ours, theirs, **options):
    return check_parity(Contest(ours, theirs, **options), ours.run(), theirs.run())


def test_equal_sides_differ_by_nothing():
    assert check(side(), side(), is_output_exact=True) == {"output": 0.0, "x": 0.0}


def test_another_output_is_refused():
    with pytest.raises(ParityError, match="output is off by"):
        check(side(scale=1.001), side())


def test_another_gradient_is_refused_by_its_name_unless_it_may_be_looser():
    ours = side()
    wrong = Side(lambda: ours.leaves["x"].sin() + 1e-3 * (ours.leaves["x"] - ours.leaves["x"].detach()), *ours[1:])
    with pytest.raises(ParityError, match="x is off by"):
        check(wrong, ours)
    assert check(wrong, ours, looser={"x": 1e-2})["x"] > 1e-4


def test_outputs_that_must_be_exact_may_not_differ_in_a_bit():
    slightly = 1.0 + 1e-6
    with pytest.raises(ParityError, match="bit by bit"):
        check(side(scale=slightly), side(), is_output_exact=True)


def test_a_side_that_is_zero_or_not_a_number_proves_nothing():
    for scale in (0.0, torch.nan):
        with pytest.raises(ParityError):
            check(side(scale=scale), side(scale=scale))


def test_a_gradient_in_another_layout_is_brought_to_ours():
    x = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    ours, theirs = x.clone().requires_grad_(), x.T.contiguous().requires_grad_()
    flip = {"output": torch.t, "x": torch.t}
    differences = check(
        Side(ours.sin, {"x": ours}, torch.ones(3, 4)), Side(theirs.sin, {"x": theirs}, torch.ones(4, 3), flip)
    )
    assert set(differences.values()) == {0.0}


def test_every_peer_has_a_pinned_version():
    assert {requirement(entry.peer).split("==")[0] for entry in CATALOGUE} == {entry.peer for entry in CATALOGUE}
