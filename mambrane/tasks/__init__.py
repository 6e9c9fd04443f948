"""Kinds of tasks, a file each: what a batch is, what is minimised, what a model is measured by. Free of torch.

`--task NAME` is the file NAME.py of this folder, and in it the class `Kind`, a `TaskKind`.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from mambrane.core.errors import UserError

if TYPE_CHECKING:
    from mambrane.tasks.kind import TaskKind

_NO_KIND = "kind"
"""The file with the protocol."""


def task_kinds() -> list[str]:
    """Return the names that `--task` takes."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != _NO_KIND)


def check_task_kind(name: str) -> None:
    """Raise UserError unless `--task` takes the name."""
    if name not in task_kinds():
        raise UserError(f"--task {name}", wanted=" or ".join(task_kinds()), way_out="--task llm")


def task_kind(name: str) -> "type[TaskKind]":
    """Return the kind of task of that name.

    Raises:
        UserError: there is none.
    """
    check_task_kind(name)
    return importlib.import_module(f"{__name__}.{name}").Kind
