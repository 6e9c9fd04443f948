"""The configuration of a run is the one that its checkpoints were made with, or it is refused setting by setting."""

import json
import shutil

import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.settings.saved_config import SETTINGS_PART, read_configuration
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.run_folder import RunFolder


@pytest.fixture
def run(hybrid_run, tmp_path):
    """A copy of the run whose configuration may be edited."""
    shutil.copytree(hybrid_run, tmp_path / "run")
    return tmp_path / "run"


def change_setting(run, section, setting, value):
    """Write another value of a setting into a run's configuration, as with an editor."""
    file = run / "config.json"
    sections = json.loads(file.read_text())
    sections[section][setting] = value
    file.write_text(json.dumps(sections))


@pytest.mark.parametrize(
    ("section", "setting", "value"),
    [
        ("model", "hidden_dim", 64),
        ("model", "spike_reset", "zero"),
        ("engine", "learning_rate", 0.5),
        ("run", "seed", 7),
        ("run", "epochs", 4),
        ("data", "sequence_length", 64),
        ("continual", "use_replay", False),
        ("plasticity", "use_stdp", False),
    ],
)
def test_a_setting_that_was_edited_after_the_training_is_named_with_both_values(run, section, setting, value):
    before = json.loads((run / "config.json").read_text())[section][setting]
    change_setting(run, section, setting, value)
    with pytest.raises(UserError) as refusal:
        read_configuration(RunFolder(run))
    assert f"{section}.{setting}: {json.dumps(before)} -> {json.dumps(value)}" in refusal.value.found
    assert str(run / "config.json") in refusal.value.found


def test_a_setting_that_may_change_between_two_sittings_may_be_edited(run):
    change_setting(run, "engine", "save_every", 7)
    assert read_configuration(RunFolder(run)).engine.save_every == 7


def test_a_checkpoint_of_a_version_that_kept_no_settings_holds_the_configuration_against_nothing(run, monkeypatch):
    monkeypatch.setattr(Checkpoints, "read_part", lambda checkpoints, name: None)
    change_setting(run, "run", "seed", 7)
    assert read_configuration(RunFolder(run)).run.seed == 7


def test_the_newest_whole_part_counts_where_a_later_one_is_damaged(run):
    newest = max((run / "checkpoints").iterdir())
    (newest / f"{SETTINGS_PART}.json").write_bytes(b"{}")
    assert Checkpoints(run / "checkpoints", keep=2, events=EventLog()).read_part(SETTINGS_PART)["run"]["seed"] == 0
    change_setting(run, "run", "seed", 7)
    with pytest.raises(UserError, match=r"run\.seed: 0 -> 7"):
        read_configuration(RunFolder(run))
