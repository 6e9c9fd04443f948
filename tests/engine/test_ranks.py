"""Processes that train together take the steps of one process alone, whatever their number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.engine.ranks import ONE_RANK, RankLostError, open_ranks
from tests.engine.several_ranks import ACCUMULATION_STEPS, CPU, DROPOUT_SCENARIOS, REFUSED, SCENARIOS, scenarios
from tests.engine.tiny_training import differences

TIMEOUT_S = 300
NEAR = {"rtol": 1e-8, "atol": 1e-10}
"""The order of a sum, in float64."""


def torchrun(num_processes, *words):
    """Return the finished torchrun of a module."""
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes), *words],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request, tmp_path_factory):
    """What each of two or three processes found, by scenario, in the order of the ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    ended = torchrun(request.param, "-m", "tests.engine.several_ranks", str(folder))
    assert ended.returncode == 0, ended.stderr
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(request.param)]


@pytest.fixture(scope="module")
def alone():
    """What one process finds, by scenario."""
    return scenarios(ONE_RANK)


def assert_equal_on_all(ranks, name):
    for other in ranks[1:]:
        for key in ("states", "weights", "counters", "scale", "cursor", "numbers"):
            assert differences(ranks[0][name][key], other[name][key]) == [], key
        assert repr(ranks[0][name]["norms"]) == repr(other[name]["norms"])


@pytest.mark.parametrize(
    "name",
    [
        *(f"{scenario}, {precision}" for scenario in SCENARIOS for precision in ("fp32", "fp16")),
        *(f"{scenario}, dropout" for scenario in DROPOUT_SCENARIOS),
    ],
)
def test_several_processes_take_the_steps_of_one(ranks, alone, name):
    """With dropout they keep the numbers that one process keeps; its layers count the same calls."""
    assert_equal_on_all(ranks, name)
    found, expected = ranks[0][name], alone[name]
    assert found["states"] == expected["states"]
    assert found["counters"] == expected["counters"]
    assert found["cursor"] == expected["cursor"]
    applied = [number for number, state in enumerate(found["states"]) if state == "COMMITTED"]
    for key in ("losses", "norms"):
        values = ([each[key][number] for number in applied] for each in (found, expected))
        torch.testing.assert_close(*values, **NEAR)
    torch.testing.assert_close(found["weights"], expected["weights"], **NEAR)


def test_an_extension_that_sums_by_the_ranks_of_its_view_shows_what_one_process_shows(ranks, alone):
    assert_equal_on_all(ranks, "counted")
    assert ranks[0]["counted"]["numbers"] == alone["counted"]["numbers"] == [{"drift/rows": 10.0}] * 2


def test_processes_that_share_the_sequences_of_an_importance_find_that_of_all(ranks, alone):
    for name, expected in alone["importance"].items():
        for other in ranks:
            assert differences(ranks[0]["importance"][name], other["importance"][name]) == []
        torch.testing.assert_close(ranks[0]["importance"][name], expected, **NEAR)
        assert all(values.any() for values in expected.values())


def test_a_stop_that_one_rank_sees_aborts_the_step_on_all(ranks):
    assert_equal_on_all(ranks, "a stop on one rank")
    stopped = ranks[0]["a stop on one rank"]
    assert stopped["states"] == ["COMMITTED", "ABORTED"]
    assert stopped["cursor"] == {"epoch": 0, "committed": ACCUMULATION_STEPS}


@pytest.mark.parametrize(("seam", "name"), [("batch mixer", "mixer"), ("after step", "drift"), ("boundary", "drift")])
def test_an_extension_that_does_not_say_that_it_is_right_across_ranks_is_refused_on_all(ranks, seam, name):
    assert set(REFUSED) == {"batch mixer", "after step", "boundary"}
    for rank in ranks:
        assert f"{len(ranks)} processes train together with {name}" in rank["refused"][seam]
        assert "across_ranks = True" in rank["refused"][seam]


def test_sums_values_and_flags_are_those_of_all_ranks_in_their_order(ranks):
    size = len(ranks)
    for number, rank in enumerate(ranks):
        found = rank["primitives"]
        numbers = torch.arange(3.0) * size + 10 * sum(range(size))
        torch.testing.assert_close(found["sums"], [numbers, torch.full((2, 2), float(sum(range(size))))])
        assert found["gathered"] == [f"rank {each}" for each in range(size)]
        assert found["all"] == [True, False, False]
        (own,) = found["rows"]
        assert len(own) == (number + 1) * 5 // size - number * 5 // size
    together = [row for rank in ranks for row in rank["primitives"]["rows"][0]]
    assert len(together) == 5


@pytest.mark.parametrize("way", ["one exchange", "two", "chunks"])
def test_a_sum_adds_in_the_order_of_the_ranks_however_it_travels(ranks, way):
    first, *others = (rank["primitives"]["of many types"]["drawn"] for rank in ranks)
    for number, total in enumerate(first):
        for drawn in others:
            total = total + drawn[number]
        for rank in ranks:
            assert torch.equal(rank["primitives"]["of many types"][way][number], total)


def test_the_first_tensor_that_differs_between_ranks_is_named(ranks):
    for rank in ranks:
        assert rank["primitives"]["equal"] == ""
        assert "b differs between rank 0 and rank 1" in rank["primitives"]["unequal"]


def test_one_process_alone_is_left_alone(alone):
    tensor = torch.ones(2)
    ONE_RANK.sum_(tensor)
    assert torch.equal(tensor, torch.ones(2))
    assert alone["primitives"]["gathered"] == ["rank 0"]
    assert alone["primitives"]["all"] == [True, True, False]
    assert alone["refused"] == dict.fromkeys(REFUSED, "")


def test_without_torchrun_there_is_one_rank(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with open_ranks(CPU, timeout_s=1.0) as ranks:
        assert ranks is ONE_RANK


def test_a_process_whose_partners_never_come_is_told_so(monkeypatch):
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="did not find each other") as raised, open_ranks(CPU, timeout_s=1.0):
        pass
    assert isinstance(raised.value, RankLostError)
    assert "torchrun" in str(raised.value)
