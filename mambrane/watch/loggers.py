"""Loggers by name: `--logger tensorboard csv wandb mlflow`. Each listens to the same events as the console.

A new one is a class that takes the folder of the run and is called with each event, and a line here. One that fails is
told of once and falls silent; the run and the other loggers go on.
"""

import importlib.util
from collections.abc import Callable, Sequence

from mambrane.core.errors import UserError
from mambrane.core.events import ClosableListener
from mambrane.storage.run_folder import RunFolder
from mambrane.watch.csv_numbers import CsvListener
from mambrane.watch.mlflow import MlflowListener
from mambrane.watch.tensorboard import TensorBoardListener
from mambrane.watch.wandb import WandbListener

LOGGERS: dict[str, Callable[[RunFolder], ClosableListener]] = {
    "tensorboard": lambda folder: TensorBoardListener(folder.tensorboard_folder),
    "csv": lambda folder: CsvListener(folder.numbers_file),
    "wandb": lambda folder: WandbListener(folder.path),
    "mlflow": lambda folder: MlflowListener(folder.path),
}
OPTIONAL_PACKAGES = ("wandb", "mlflow")
"""Loggers that need the package of their name."""


def make_loggers(names: Sequence[str], folder: RunFolder) -> list[ClosableListener]:
    """Return a listener for each name, once each, in order."""
    return [LOGGERS[name](folder) for name in dict.fromkeys(names) if name != "none"]


def require_packages_of(names: Sequence[str]) -> None:
    """Refuse a logger whose package is not installed.

    Raises:
        UserError: one is missing; the message says how to install it.
    """
    for name in names:
        if name in OPTIONAL_PACKAGES and importlib.util.find_spec(name) is None:
            raise UserError(
                f"--logger {name}: the package {name} is not installed",
                wanted=f"the package {name}",
                way_out=f"pip install 'mambrane[{name}]', or leave {name} out",
            )
