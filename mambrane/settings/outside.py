"""Extensions from other packages: from the arguments of `--extension` to objects, and back for config.json.

    --extension package.module:Class name=value ...        several classes may follow one another

A class from outside is called with its settings, which as a rule are the fields of a dataclass. config.json
holds the same arguments with every setting given, so that a resumed run is compared with them as with any flag.
"""

import dataclasses
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from mambrane.core.bounds import check_settings
from mambrane.core.errors import UserError
from mambrane.settings.config import RunConfig
from mambrane.settings.setting_values import checked_value


def load_extensions(arguments: Sequence[str]) -> list[object]:
    """Return the extensions that the arguments of `--extension` name.

    Raises:
        UserError: a class that cannot be imported, a setting that it does not have, or a value that it does not take.
    """
    return [_made(path, settings) for path, settings in _grouped(arguments)]


def with_extensions(config: RunConfig, given: Sequence[object]) -> tuple[RunConfig, list[object]]:
    """Return a configuration that names all extensions of a run, and these: what it names, then the objects given."""
    extensions = [*load_extensions(config.run.extension), *given]
    arguments = tuple(argument for extension in extensions for argument in arguments_of(extension))
    return dataclasses.replace(config, run=dataclasses.replace(config.run, extension=arguments)), extensions


def arguments_of(extension: object) -> list[str]:
    """Return the arguments that name an extension and all its settings."""
    kind = type(extension)
    fields = dataclasses.fields(extension) if dataclasses.is_dataclass(extension) else ()
    path = f"{kind.__module__}:{kind.__qualname__}"
    return [path, *(_argument(path, field.name, getattr(extension, field.name)) for field in fields if field.init)]


def extension_lines(arguments: Sequence[str]) -> list[str]:
    """Return a line for each extension that the arguments name, with its settings."""
    return [
        " ".join([f"extension {path}", *(f"{name}={value}" for name, value in settings.items())])
        for path, settings in _grouped(arguments)
    ]


def _argument(path: str, name: str, value: Any) -> str:  # noqa: ANN401 -- whatever the extension holds
    try:
        return f"{name}={json.dumps(value)}"
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"--extension {path}: its setting {name} is a {type(value).__name__}, which the run cannot write down",
            wanted="settings of numbers, text and lists, so that a resumed run can be compared with them",
            way_out=f"declare {name} as field(init=False), and make it from the settings in __post_init__",
        ) from error


def _grouped(arguments: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each class with the settings behind it."""
    path, settings = "", {}
    for argument in arguments:
        name, is_setting, value = argument.partition("=")
        if is_setting and path:
            settings[name] = value
            continue
        if is_setting or ":" not in argument:
            raise _misread(argument)
        if path:
            yield path, settings
        path, settings = argument, {}
    if path:
        yield path, settings


def _made(path: str, settings: dict[str, str]) -> object:
    kind = _imported(path)
    hints = get_type_hints(kind) if dataclasses.is_dataclass(kind) else {}
    names = [field.name for field in dataclasses.fields(kind) if field.init] if dataclasses.is_dataclass(kind) else []
    for name in settings:
        if name not in names:
            raise UserError(
                f"--extension {path} {name}=...: it has no such setting",
                wanted=", ".join(names) or "no settings: the class is no dataclass",
                way_out="correct the name, or leave it out",
            )
    where = f"--extension {path}"
    values = {
        name: checked_value(_value(text), hints[name], where=f"{where} {name}") for name, text in settings.items()
    }
    try:
        extension = kind(**values)
    except UserError:
        raise
    except TypeError as error:
        raise UserError(
            f"{where}: {error}", wanted="its settings as name=value", way_out="give each of them"
        ) from error
    # Somebody else's class may refuse a value with anything.
    except Exception as error:
        raise UserError(
            f"{where}: {type(error).__name__}: {error}",
            wanted="settings that its class takes",
            way_out="correct the settings, or the class",
        ) from error
    if dataclasses.is_dataclass(extension):
        check_settings(extension)
    return extension


def _imported(path: str) -> Any:  # noqa: ANN401 -- a class of somebody else
    module_name, _, class_name = path.partition(":")
    # Modules that lie in the working folder are found too, behind all that are installed.
    sys.path.append(str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
        kind = getattr(module, class_name, None)
    # Somebody else's module may raise anything while it is imported.
    except Exception as error:
        raise UserError(
            f"--extension {path}: the module cannot be imported ({type(error).__name__}: {error})",
            wanted="package.module:Class, installed or in the working folder",
            way_out="correct the name, or install the package",
        ) from error
    finally:
        sys.path.pop()
    if not isinstance(kind, type):
        raise UserError(
            f"--extension {path}: the module has no class {class_name!r}",
            wanted="a class of the module",
            way_out="correct the name behind the colon",
        )
    return kind


def _value(text: str) -> Any:  # noqa: ANN401 -- any JSON value
    try:
        return json.loads(text)
    except ValueError:
        return text


def _misread(argument: str) -> UserError:
    return UserError(
        f"--extension {argument}",
        wanted="package.module:Class, then its settings as name=value",
        way_out="--extension my_rules:Oja rate=0.001",
    )
