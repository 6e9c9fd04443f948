"""Weights in pieces on two processes are trained as whole weights are by one."""

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.engine.config import EngineConfig
from mambrane.engine.ranks import ONE_RANK
from mambrane.engine.shards import is_sharded, piece_of, refuse_without_shards, whole, whole_state
from tests.engine.several_ranks import DROPOUT_SCENARIOS, SCENARIOS, train, with_dropout
from tests.engine.sharded_ranks import HALF, METHODS, PRECISIONS, RESUMED, two_tasks
from tests.engine.test_ranks import NEAR, assert_equal_on_all, torchrun
from tests.engine.tiny_training import TinyModel, differences


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes found, by scenario."""
    folder = tmp_path_factory.mktemp("shards")
    ended = torchrun(2, "-m", "tests.engine.sharded_ranks", str(folder))
    assert ended.returncode == 0, ended.stderr
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(2)]


def assert_same_training(found, expected):
    assert found["states"] == expected["states"]
    assert found["counters"] == expected["counters"]
    applied = [number for number, state in enumerate(found["states"]) if state == "COMMITTED"]
    for key in ("losses", "norms"):
        values = ([each[key][number] for number in applied] for each in (found, expected))
        torch.testing.assert_close(*values, **NEAR)
    torch.testing.assert_close(found["weights"], expected["weights"], **NEAR)
    for name, state in expected["state"]["optimizer"].items():
        torch.testing.assert_close(found["state"]["optimizer"][name], state, **NEAR)


@pytest.mark.parametrize("name", SCENARIOS)
def test_weights_in_pieces_take_the_steps_of_whole_ones(ranks, name):
    """Uneven rows, a rank without rows or targets, a tail, a gradient that is not finite, nothing to learn."""
    assert_equal_on_all(ranks, name)
    assert_same_training(ranks[0][name], train(SCENARIOS[name], PRECISIONS[name]))


@pytest.mark.parametrize("name", DROPOUT_SCENARIOS)
def test_in_pieces_the_numbers_of_the_whole_model_are_dropped(ranks, name):
    assert_equal_on_all(ranks, f"{name}, dropout")
    assert_same_training(ranks[0][f"{name}, dropout"], train(SCENARIOS[name], model=with_dropout()))


def test_a_rank_holds_its_part_of_weights_averages_and_moments(ranks):
    """Half of each, but for the padding of rows that do not divide by two."""
    whole_bytes = sum(parameter.numel() * 8 for parameter in TinyModel().parameters())
    for rank in ranks:
        held = rank["rows that do not divide"]["bytes held"]
        assert held["weights"] <= 0.6 * 2 * whole_bytes
        assert held["optimizer"] <= 0.6 * 2 * whole_bytes
    both = sum(rank["rows that do not divide"]["bytes held"]["weights"] for rank in ranks)
    assert both == 2 * whole_bytes


@pytest.mark.parametrize("way", ["begun in pieces", "ended in pieces"])
def test_a_state_knows_no_pieces(ranks, way):
    half = train(RESUMED[:HALF])
    assert_same_training(ranks[0][way], train(RESUMED[HALF:], state=half["state"]))


@pytest.mark.parametrize("way", ["in pieces", "begun in pieces", "ended in pieces"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_does_to_pieces_what_it_does_to_whole_weights(ranks, method, way):
    """Over the end of a task, with its state whole in between."""
    expected = two_tasks(method, [TinyModel, TinyModel], ONE_RANK)
    for rank in ranks:
        assert differences(rank["methods"][method][way], ranks[0]["methods"][method][way]) == []
    found = ranks[0]["methods"][method][way]
    torch.testing.assert_close(found["weights"], expected["weights"], **NEAR)
    torch.testing.assert_close(found["numbers"], expected["numbers"], **NEAR)
    assert flat(found["extensions"]).keys() == flat(expected["extensions"]).keys()
    torch.testing.assert_close(flat(found["extensions"]), flat(expected["extensions"]), **NEAR)


def flat(tree, path=""):
    """Return the tensors of a state by their place in it."""
    if isinstance(tree, dict):
        return {place: found for name, each in tree.items() for place, found in flat(each, f"{path}/{name}").items()}
    return {path: tree} if isinstance(tree, torch.Tensor) else {}


def test_an_extension_that_knows_pieces_sees_what_it_sees_with_whole_weights(ranks):
    assert_equal_on_all(ranks, "counted")
    assert ranks[0]["counted"]["numbers"] == [{"drift/rows": 10.0}] * 2


def test_one_that_does_not_say_so_is_refused_by_name_on_all(ranks):
    for rank in ranks:
        assert "--shard with drift" in rank["refused"]
        assert "across_shards = True" in rank["refused"]


def test_a_stop_that_one_rank_sees_leaves_no_other_waiting(ranks):
    assert_equal_on_all(ranks, "a stop on one rank")
    assert ranks[0]["a stop on one rank"]["states"] == ["COMMITTED", "ABORTED"]


def test_memory_that_runs_out_ends_the_run_with_the_rank(ranks):
    for number, rank in enumerate(ranks):
        assert f"memory ran out on rank {number}" in rank["too large"]
        assert "--batch-size" in rank["too large"]


def test_whole_tensors_are_left_as_they_are():
    tensor = torch.ones(3)
    assert whole(tensor) is tensor
    assert piece_of(tensor, like=tensor) is tensor
    tree = {"a": [tensor, 1], "b": (None, "c")}
    assert differences(whole_state(tree, keeps=False), tree) == []
    assert not is_sharded(TinyModel())


@pytest.mark.parametrize("other", [{"compile": True}, {"patience": 2}])
def test_what_needs_whole_weights_is_refused_beside_it(other):
    with pytest.raises(UserError, match="--shard with --"):
        EngineConfig(shard=True, **other)


def test_every_extension_that_does_not_know_pieces_is_named():
    class First:
        name = "first"

    class Second:
        name = "second"
        across_shards = True

    refuse_without_shards([Second()])
    with pytest.raises(UserError, match="--shard with first:"):
        refuse_without_shards([First(), Second()])
