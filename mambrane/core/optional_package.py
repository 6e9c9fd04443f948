"""Packages that an extra of Mambrane brings, imported when they are needed."""

import importlib
from types import ModuleType

from mambrane.core.errors import UserError


def optional_package(module: str, *, extra: str, asked_for: str, otherwise: str = "") -> ModuleType:
    """Return a module of a package that may be missing.

    Args:
        module: its name, package.module.
        extra: the extra of Mambrane that brings it.
        asked_for: what needs it, for the message: `--to nir`.
        otherwise: what can be done without it, for the message.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        # A package that is there may itself lack another.
        lacks = "is not installed" if error.name in (None, module, name) else f"cannot be imported ({error})"
        raise UserError(
            f"{asked_for}: the package {name} {lacks}",
            wanted=f"the {extra} extra of mambrane",
            way_out=f"pip install 'mambrane[{extra}]'" + (f", or {otherwise}" if otherwise else ""),
        ) from error
