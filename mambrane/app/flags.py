"""The flags of a command: short forms, which settings they name, and the error for a flag that does not exist."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mambrane.core.bounds import without_none
from mambrane.core.errors import UserError

SHORT_FORMS = {"--lr": "--learning-rate"}
NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}


def long_forms(argv: Sequence[str]) -> list[str]:
    """Return the arguments with every short form written out."""
    whole = []
    for word in argv:
        flag, equals, value = word.partition("=")
        whole.append(SHORT_FORMS.get(flag, flag) + equals + value if word.startswith("--") else word)
    return whole


def given_settings(argv: Sequence[str]) -> set[str]:
    """Return the names of the settings whose flags are given, those switched off by --no-NAME included."""
    names = {_name(word) for word in long_forms(argv) if word.startswith("--")}
    return names | {name.removeprefix("no_") for name in names}


def hints_of(settings: type) -> dict[str, Any]:
    """Return the type of each setting by name; those of nested dataclasses stand beside the others."""
    hints: dict[str, Any] = {}
    types = get_type_hints(settings)
    for field in fields(settings):
        hint = types[field.name]
        hints |= hints_of(hint) if isinstance(hint, type) and is_dataclass(hint) else {field.name: hint}
    return hints


def split_words(
    argv: Sequence[str], hints: Mapping[str, Any], *, command: str, num_positional: int = 0
) -> tuple[list[str], list[str]]:
    """Return the words that belong to no flag, and the flags with their values.

    Raises:
        UserError: an unknown flag, answered with the nearest that there is; a value that its flag does not take; an
            argument too many.
    """
    left, switch = list(argv), ""
    positional, flags = list[str](), list[str]()
    while left:
        word = left.pop(0)
        if not word.startswith("-") or word == "-":
            positional.append(word)
            if len(positional) > num_positional:
                raise _stray(word, switch, hints, command)
            continue
        flags.append(word)
        hint = _hint_of(word, hints, command)
        switch = word if hint is bool else ""
        flag, equals, value = word.partition("=")
        if hint is bool:
            if equals:
                raise _stray(value, flag, hints, command)
            continue
        if equals:
            _check_value(flag, value, hint)
            continue
        is_list = get_origin(hint) is tuple
        if not left or (is_list and left[0].startswith("--")):
            raise UserError(f"{word} without a value", wanted=_wanted(hint), way_out=f"mambrane {command} --help")
        if is_list:
            while left and not left[0].startswith("--"):
                flags.append(left.pop(0))
        else:
            _check_value(word, left[0], hint)
            flags.append(left.pop(0))
    return positional, flags


def require_run(positional: Sequence[str], command: str) -> None:
    """Refuse the words of a command, split from its flags, without the folder of a run.

    Raises:
        UserError: there is none.
    """
    if not positional:
        way_out = f"mambrane {command} runs/NAME; `ls runs` shows which there are"
        raise UserError(f"mambrane {command} without a run", wanted="the folder of a run", way_out=way_out)


def _hint_of(word: str, hints: Mapping[str, Any], command: str) -> Any:  # noqa: ANN401 -- an annotation
    name = _name(word)
    if word.startswith("--") and name in hints:
        return hints[name]
    if word.startswith("--no") and hints.get(name.removeprefix("no_")) is bool:
        return bool
    raise UserError(
        f"{word.partition('=')[0]} is no flag of `mambrane {command}`",
        wanted=_did_you_mean(name, hints) or f"a flag of `mambrane {command}`",
        way_out=f"mambrane {command} --help lists them all",
    )


def _did_you_mean(name: str, hints: Mapping[str, Any]) -> str | None:
    """Return the flags that are spelt alike, or hold the name as the beginning of a word."""
    names = [*hints, *(f"no_{known}" for known, hint in hints.items() if hint is bool)]
    names += [_name(short) for short in SHORT_FORMS if SHORT_FORMS[short][2:].replace("-", "_") in hints]
    alike = difflib.get_close_matches(name, names, n=3, cutoff=0.7)
    alike += [known for known in names if f"_{name}" in f"_{known}" and known not in alike][:3]
    return "did you mean " + " or ".join(f"--{known.replace('_', '-')}" for known in alike[:3]) + "?" if alike else None


def _check_value(flag: str, value: str, hint: Any) -> None:  # noqa: ANN401 -- an annotation
    if without_none(hint) is not hint and value == "None":
        return
    hint = without_none(hint)
    if get_origin(hint) is Literal:
        choices = [str(choice) for choice in get_args(hint)]
        if value not in choices:
            alike = difflib.get_close_matches(value, choices, n=1)
            way_out = f"{flag} {alike[0] if alike else choices[0]}"
            raise UserError(f"{flag} {value}", wanted=_wanted(hint), way_out=way_out)
        return
    if hint in NUMBERS:
        try:
            hint(value)
        except ValueError as error:
            raise UserError(
                f"{flag} {value}", wanted=_wanted(hint), way_out=f"{flag} followed by {_wanted(hint)}"
            ) from error


def _wanted(hint: Any) -> str:  # noqa: ANN401 -- an annotation
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    return NUMBERS.get(without_none(hint), "a value after it")


def _stray(word: str, switch: str, hints: Mapping[str, Any], command: str) -> UserError:
    if switch:
        on = "--" + switch.removeprefix("--no-").removeprefix("--")
        wanted = f"no value: {on}, or --no-{on[2:]}"
        return UserError(f"{switch} {word}".rstrip(), wanted=wanted, way_out=f"leave {word or '='!r} out")
    way_out = f"--data {word} for text of your own" if "data" in hints else f"mambrane {command} --help"
    return UserError(f"{word!r} belongs to no flag", wanted="flags and their values", way_out=way_out)


def _name(word: str) -> str:
    return word.lstrip("-").partition("=")[0].replace("-", "_")
