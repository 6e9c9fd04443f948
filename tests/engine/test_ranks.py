"""Two processes that train together take the steps of one process with all the data."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mambrane.engine.ranks import largest_over_ranks, num_ranks, sum_over_ranks_, true_on_all_ranks
from tests.engine.oracle import Oracle
from tests.engine.tiny_training import CPU, TinyModel, differences, make_trainer
from tests.engine.two_ranks import ACCUMULATION_STEPS, SCENARIOS, TOTAL_STEPS

TIMEOUT_S = 300


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What the two processes found, by scenario: rank 0 and rank 1."""
    folder = tmp_path_factory.mktemp("ranks")
    files = [folder / f"rank-{rank}.pt" for rank in range(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.engine.two_ranks", str(rank), str(folder / "meeting"), str(files[rank])],
            cwd=Path(__file__).parents[2],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [process.communicate(timeout=TIMEOUT_S)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    ranks = [torch.load(file, weights_only=True) for file in files]
    return {name: (ranks[0][name], ranks[1][name]) for name in ranks[0]}


def joint_steps(first, second):
    """The steps of one process that has the data of both."""
    longest = max(len(first), len(second))
    starts = range(0, longest, ACCUMULATION_STEPS)
    return [[*first[at : at + ACCUMULATION_STEPS], *second[at : at + ACCUMULATION_STEPS]] for at in starts]


EXPECTED_STATES = {
    "unequal tokens": ["COMMITTED"] * 3,
    "one rank without a target": ["COMMITTED"] * 2,
    "different lengths": ["COMMITTED"] * 4,
    "one rank without data": ["COMMITTED"] * 2,
    "different micro-batch sizes": ["COMMITTED"] * 2,
    "infinite on one rank": ["COMMITTED", "SKIPPED", "COMMITTED"],
    "no target anywhere": ["EMPTY"],
}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_two_ranks_equal_one_process_with_all_the_data(both, name, precision):
    left, right = both[f"{name}, {precision}"]
    for key in ("states", "weights", "counters", "scale"):
        assert differences(left[key], right[key]) == [], key
    assert repr(left["norms"]) == repr(right["norms"])
    assert left["states"] == EXPECTED_STATES[name]
    oracle = Oracle(TinyModel(), make_trainer().config, TOTAL_STEPS)
    joint = joint_steps(*SCENARIOS[name])
    applied = [number for number, state in enumerate(left["states"]) if state == "COMMITTED"]
    for number in applied:
        oracle.train_on(joint[number])
    near = {"rtol": 1e-8, "atol": 1e-10}
    torch.testing.assert_close([left["losses"][number] for number in applied], oracle.losses, **near)
    torch.testing.assert_close([left["norms"][number] for number in applied], oracle.norms, **near)
    torch.testing.assert_close(left["weights"]["model"], dict(oracle.model.state_dict()), **near)
    torch.testing.assert_close(left["weights"]["ema"], oracle.average, **near)
    assert left["counters"]["micro_steps"] == sum(map(len, SCENARIOS[name]))


def test_a_branch_that_only_one_rank_uses_is_trained_on_both(both):
    left, right = both["a branch on one rank"]
    assert left["states"] == ["COMMITTED"] * 2
    assert differences(left["weights"], right["weights"]) == []
    assert not torch.equal(left["weights"]["model"]["hidden.weight"], TinyModel().hidden.weight)


def test_a_stop_that_one_rank_sees_aborts_the_step_on_both(both):
    left, right = both["a stop on one rank"]
    assert left["states"] == right["states"] == ["COMMITTED", "ABORTED"]
    assert left["cursor"] == right["cursor"] == {"epoch": 0, "committed": ACCUMULATION_STEPS}
    assert differences(left["weights"], right["weights"]) == []


def test_a_tail_carried_on_one_rank_is_kept_while_the_other_goes_on(both):
    left, right = both["a tail on one rank"]
    assert left["states"] == right["states"] == ["COMMITTED"] * 3
    assert left["carried"] == [0, 0, 0]
    assert right["carried"] == [0, 1, 1]


@pytest.mark.parametrize(("seam", "name"), [("batch mixer", "mixer"), ("after step", "drift"), ("boundary", "drift")])
def test_an_extension_that_would_see_one_rank_only_is_refused_on_both(both, seam, name):
    for rank in both["refused"]:
        assert f"2 processes train together with {name}" in rank[seam]["told"]
        assert "train in one process" in rank[seam]["told"]
        assert rank[seam]["steps"] == 0


def test_one_process_alone_is_left_alone():
    tensor = torch.ones(2)
    assert num_ranks() == 1
    assert sum_over_ranks_(tensor) is tensor
    assert torch.equal(tensor, torch.ones(2))
    assert largest_over_ranks([3, 0], CPU) == [3, 0]
    assert true_on_all_ranks(True, CPU)
    assert not true_on_all_ranks(False, CPU)
