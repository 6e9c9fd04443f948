"""A study is checked whole before anything runs, and its cells are the grid that it says."""

import itertools

import pytest

from mambrane.core.errors import UserError
from tests.studies.small import ARMS, SETTINGS, small_study


def test_every_arm_seed_and_order_is_a_run_of_its_own(tmp_path):
    arms = {name: ARMS[name] for name in ("naive", "replay")}
    cells = small_study(orders=2, arms=arms, seeds=[3, 5]).cells(tmp_path)
    assert [(cell.arm, cell.seed, cell.order) for cell in cells] == [
        (arm, seed, order) for seed, order, arm in itertools.product([3, 5], [1, 2], ["naive", "replay"])
    ]
    assert len({cell.folder for cell in cells}) == len(cells)
    assert {cell.config.data.task_order for cell in cells} == {(), ("2", "1")}
    assert [cell.config.run.seed for cell in cells] == [3] * 4 + [5] * 4
    assert [cell.config.continual.use_replay for cell in cells] == [False, True] * 4


def test_a_setting_of_an_arm_stands_above_one_of_all_however_it_is_spelt():
    arms = {"a": {"learning_rate": 0.5}, "b": {}}
    study = small_study(arms=arms, baseline="a", settings={**SETTINGS, "learning-rate": 0.1})
    assert [config.engine.learning_rate for config in study.configurations.values()] == [0.5, 0.1]


def test_the_first_orders_are_as_given_and_reversed_and_none_comes_twice(tmp_path):
    arms = {name: ARMS[name] for name in ("naive", "replay")}
    cells = small_study(orders=6, arms=arms, settings={**SETTINGS, "num-tasks": 3}, seeds=1).cells(tmp_path)
    orders = [cell.config.data.task_order for cell in cells if cell.arm == "naive"]
    assert orders[:2] == [(), ("3", "2", "1")]
    assert len(set(orders)) == 6
    assert ("1", "2", "3") not in orders


@pytest.mark.parametrize(
    ("changes", "found", "wanted"),
    [
        ({"baseline": "plain"}, "baseline 'plain' is no arm", "naive, replay, joint"),
        ({"arms": {}, "baseline": "x"}, "no arms", "a table for each arm"),
        ({"arms": {"a": {}, "A": {}}, "baseline": "a"}, "the arms 'a' and 'A'", "more than case"),
        ({"arms": {"../a": {}}, "baseline": "../a"}, "the arm '../a'", "a folder"),
        ({"seeds": 0}, "seeds = 0", "at least 1"),
        ({"orders": []}, "orders = []", "at least 1"),
        ({"seeds": [1, 2, 1]}, "seed 1 twice", "once"),
        ({"orders": [["a", "b"], ["b", "a"], ["a", "b"]]}, "the order ['a', 'b'] twice", "each order once"),
        ({"metric": "loss"}, "metric 'loss'", "final_average"),
        ({"name": "a/b"}, "name 'a/b'", "letters"),
        ({"joint": "all"}, "joint 'all' is no arm", "naive"),
        ({"axis": "replay-shrae"}, "axis 'replay-shrae' is no setting", "a flag"),
        ({"series": "sources"}, "series 'sources' is no setting", "a flag"),
    ],
)
def test_a_study_that_is_none_is_refused_with_what_was_wanted(changes, found, wanted):
    with pytest.raises(UserError) as error:
        small_study(**changes)
    assert found in error.value.found
    assert wanted in error.value.wanted


@pytest.mark.parametrize(
    ("settings", "found", "way"),
    [
        ({"use-repaly": True}, "no setting use-repaly", "use-replay"),
        ({"learning-rate": "fast"}, "learning-rate: 'fast'", "a number"),
        ({"replay-strategy": "best"}, "replay-strategy: 'best'", "balanced"),
        ({"preset": "huge"}, "preset 'huge'", "tiny"),
        ({"seed": 3}, "seed in [arms.naive]", "seeds = "),
        ({"task-order": ["a"]}, "task-order in", "orders = "),
        ({"max-steps": 3}, "max-steps in", "epochs"),
        ({"data": 3}, "data: 3", "a list"),
    ],
)
def test_a_setting_that_no_run_takes_is_refused_with_the_nearest(settings, found, way):
    with pytest.raises(UserError) as error:
        _ = small_study(settings={**SETTINGS, **settings}).configurations
    assert found in error.value.found
    assert way in error.value.wanted + error.value.way_out


def test_two_arms_that_are_the_same_run_are_refused():
    with pytest.raises(UserError, match=r"\[arms.a\] and \[arms.b\] are the same run"):
        _ = small_study(arms={"a": {}, "b": {"use-replay": False}}, baseline="a").configurations


def test_more_orders_than_there_are_and_orders_of_one_task_are_refused(tmp_path):
    arms = {name: ARMS[name] for name in ("naive", "replay")}
    with pytest.raises(UserError, match="3 orders of 2 tasks"):
        small_study(orders=3, arms=arms).cells(tmp_path)
    with pytest.raises(UserError, match="the arm joint has one task"):
        small_study(orders=2).cells(tmp_path)


def test_a_setting_without_effect_is_named_with_its_arm():
    arms = {"a": {"replay-fraction": 0.25}, "b": {"use-replay": True}}
    assert small_study(arms=arms, baseline="a").warnings() == [
        "--replay-fraction 0.25 has no effect without --use-replay (arm a)"
    ]
