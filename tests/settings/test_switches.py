"""A preset is a whole recipe, and what leans on a thing that is taken away goes with it."""

import shlex

import pytest

from mambrane.app.cli import parse_train
from mambrane.core.errors import UserError
from mambrane.settings.presets import tiny
from mambrane.settings.shown_switches import on_and_off
from mambrane.settings.switches import DEPENDS_ON, without_unmet_switches
from tests.settings.whole_recipe import whole_recipe


def switched_on(words):
    return set(on_and_off(parse_train(shlex.split(words)))[0])


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        ("--no-use-mamba", {"Mamba 1 (bidirectional)", "adaptive gating", "cross-attention"}),
        ("--integration-mode parallel", {"Mamba 1 (bidirectional)", "cross-attention"}),
        ("--no-continual-learning", {"continual learning (5 tasks)", "replay"}),
        ("--num-tasks 1", {"continual learning (5 tasks)", "replay"}),
        ("--no-use-replay", {"replay"}),
    ],
)
def test_what_leans_on_a_thing_that_is_taken_away_goes_with_it(words, gone):
    assert switched_on("") - switched_on(words) == gone


def test_every_switch_that_leans_on_others_has_a_form_that_turns_it_off():
    for section, name in DEPENDS_ON:
        flag = name.replace("_", "-")
        words = f"--no-{flag}" if name.startswith("use_") else f"--{flag} 0"
        assert not getattr(getattr(parse_train(words.split()), section), name)


def test_a_switch_that_was_asked_for_is_refused_and_not_turned_off():
    with pytest.raises(UserError, match="--use-replay without --continual-learning"):
        parse_train(["--no-continual-learning", "--use-replay"])


def test_a_configuration_file_takes_things_away_as_flags_do(tmp_path):
    file = tmp_path / "c.json"
    file.write_text('{"continual": {"continual_learning": false}}')
    config = parse_train(["--config", str(file)])
    assert not config.continual.use_replay


@pytest.mark.parametrize(("num_files", "num_tasks"), [(2, 2), (7, 7)])
def test_each_file_of_ones_own_text_is_a_task(tmp_path, num_files, num_tasks):
    for index in range(num_files):
        (tmp_path / f"{index}.txt").write_text("text\n")
    continual = parse_train(["--data", str(tmp_path)]).continual
    assert (continual.continual_learning, continual.num_tasks, continual.use_replay) == (True, num_tasks, True)
    assert parse_train(["--data", str(tmp_path), "--num-tasks", "2"]).continual.num_tasks == 2


def test_one_text_alone_is_one_task_without_what_keeps_earlier_ones(tmp_path):
    (tmp_path / "one.txt").write_text("text\n")
    config = parse_train(["--data", str(tmp_path / "one.txt")])
    assert not config.continual.continual_learning
    assert not config.continual.use_replay
    assert config.model.use_mamba


def test_heads_that_nobody_chose_fit_the_width_that_somebody_did():
    model = parse_train(["--hidden-dim", "24"]).model
    assert (model.hidden_dim, model.num_gate_heads, model.cross_attn_heads) == (24, 8, 12)
    with pytest.raises(UserError, match="--num-gate-heads 7 does not divide"):
        parse_train(["--hidden-dim", "24", "--num-gate-heads", "7"])


def test_a_pattern_without_hybrid_blocks_takes_away_what_only_they_have():
    base = without_unmet_switches(tiny(), {"block_pattern": "mamba"})
    assert not any((base.model.use_mamba, base.model.use_cross_attention, base.model.use_adaptive_gating))
    assert without_unmet_switches(tiny(), {"block_pattern": "mamba,hybrid"}) == tiny()


@pytest.mark.parametrize(
    ("chosen", "gone"),
    [
        ({"block_pattern": "mamba"}, "use_stdp"),
        ({"liquid_backbone": "cfc"}, "use_stdp"),
        ({"continual_learning": False}, "use_meta_plasticity"),
        ({"num_tasks": 1}, "use_meta_plasticity"),
        ({"curriculum": "joint"}, "use_meta_plasticity"),
        ({"curriculum": "single-task"}, "use_meta_plasticity"),
    ],
)
def test_a_recipe_loses_the_plasticity_that_has_nothing_to_act_on(chosen, gone):
    plasticity = without_unmet_switches(whole_recipe(), chosen).plasticity
    assert {name for name in ("use_stdp", "use_meta_plasticity") if not getattr(plasticity, name)} == {gone}
