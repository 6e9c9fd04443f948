"""`mambrane completion SHELL`: what a shell needs to complete commands, flags, their choices, and names of files."""

import argparse
import sys
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mambrane.app.arguments import ARGUMENTS
from mambrane.app.flags import hints_of
from mambrane.app.help import is_positional
from mambrane.core.bounds import without_none
from mambrane.core.optional_package import optional_package

FILES = frozenset({"run", "runs", "file", "output", "output_dir", "config", "data", "prompt_file", "state", "study"})
"""Arguments that are names of files or folders."""


def completion(shell: str) -> int:
    """Print the script of a shell.

    Raises:
        UserError: the package that writes it is not installed.
    """
    shtab = optional_package("shtab", extra="completion", asked_for="mambrane completion")
    parser = argument_parser()
    for action in _file_actions(parser):
        action.complete = shtab.FILE
    sys.stdout.write(shtab.complete(parser, shell) + "\n")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the command line as argparse has it, for those who read that: a command each, with flags and choices."""
    parser = argparse.ArgumentParser(prog="mambrane")
    commands = parser.add_subparsers()
    for name, kind in ARGUMENTS.items():
        words = " ".join((kind.__doc__ or "").split()).partition(". ")[0].partition(": ")[0].removesuffix(".")
        _add_settings(commands.add_parser(name, help=words.replace("%", "%%")), kind)
    return parser


def _add_settings(parser: argparse.ArgumentParser, kind: type) -> None:
    marked = get_type_hints(kind, include_extras=True)
    positional = [field.name for field in fields(kind) if is_positional(marked[field.name])]
    for name, hint in hints_of(kind).items():
        plain = without_none(hint)
        options: dict[str, Any] = {}
        if get_origin(plain) is Literal:
            options["choices"] = [str(choice) for choice in get_args(plain)]
        if name in positional:
            parser.add_argument(name, nargs="*" if get_origin(plain) is tuple else "?", **options)
        elif plain is bool:
            parser.add_argument(_flag(name), action=argparse.BooleanOptionalAction)
        else:
            parser.add_argument(_flag(name), nargs="*" if get_origin(plain) is tuple else None, **options)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _file_actions(parser: argparse.ArgumentParser) -> list[Any]:
    """Return every argument of every command that is the name of a file."""
    found: list[Any] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                found += _file_actions(command)
        elif action.dest in FILES and not action.choices:
            found.append(action)
    return found
