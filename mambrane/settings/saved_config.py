"""What a run began with: its config.json, held against what its checkpoints say.

Every checkpoint holds the settings that decide what is learned, sealed by its manifest. A config.json that was edited
afterwards would describe a run that nobody trained: it is refused wherever a run is opened, setting by setting.
"""

from typing import Any

from mambrane.core.errors import UserError
from mambrane.core.renamed import with_present_settings
from mambrane.settings.config import OPERATIONAL, RunConfig, defaults_for_old_runs, from_dict, to_dict
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.run_folder import RunFolder, config_differences, filled_in

SETTINGS_PART = "settings"
"""The part of a checkpoint that holds them."""


def read_configuration(folder: RunFolder) -> RunConfig:
    """Return what a run began with.

    Raises:
        UserError: there is no run, its config.json is damaged, or it is not what the checkpoints were made with.
    """
    folder.require_run()
    config = from_dict(folder.read_config(), source=str(folder.config_file), base=defaults_for_old_runs())
    _refuse_other_settings(folder, config)
    return config


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Return what a checkpoint keeps of a configuration: all but the settings that may change between two sessions."""
    return {
        section: {name: value for name, value in values.items() if f"{section}.{name}" not in OPERATIONAL}
        for section, values in to_dict(config).items()
    }


def _refuse_other_settings(folder: RunFolder, config: RunConfig) -> None:
    checkpoints = Checkpoints(folder.checkpoints_folder)
    saved = checkpoints.read_part(SETTINGS_PART)
    # A version before 2026-11-28 kept none.
    if not isinstance(saved, dict):
        return
    settings = filled_in(with_present_settings(saved), to_dict(defaults_for_old_runs()))
    differences = config_differences(settings, to_dict(config), operational=OPERATIONAL)
    if differences:
        raise UserError(
            "\n  ".join([f"{folder.config_file} was changed since the run was trained:", *differences]),
            wanted="the settings that the checkpoints of the run were made with",
            way_out="set these back in the file; for a run with other settings, another --output-dir",
        )
