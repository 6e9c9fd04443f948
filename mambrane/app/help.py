"""What `--help` prints: every setting in plain words, the everyday ones first."""

import ast
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import tyro

from mambrane.core.bounds import without_none

EVERYDAY = (
    "preset", "data", "output_dir", "epochs", "learning_rate", "batch_size", "seed", "device", "dry_run", "json",
    "config",
)  # fmt: skip
TITLES = {
    "start": "Where the defaults come from",
    "run": "The run",
    "data": "The text",
    "model": "The model",
    "engine": "Training",
    "plasticity": "Plasticity",
    "continual": "Continual learning",
}
PLACEHOLDERS = {
    "data": "PATH ...",
    "task_order": "DOMAIN ...",
    "reference_text": "PATH ...",
    "extension": "MODULE:CLASS NAME=VALUE ...",
    "logger": "NAME ...",
    "output_dir": "FOLDER",
    "prompt": "TEXT",
    "config": "FILE",
    "output": "FILE",
    "init_from": "MODEL",
    "prompt_file": "FILE",
    "state": "FILE",
    "stop": "TEXT ...",
    "hub_name": "OWNER/MODEL",
    "host": "ADDRESS",
}
FLAG_WIDTH = 30
WIDTH = 80


class Setting(NamedTuple):
    """One setting as help shows it."""

    name: str
    hint: Any
    default: Any
    sentence: str


def settings_of(arguments: Any) -> Iterator[tuple[str, list[Setting]]]:  # noqa: ANN401 -- any dataclass
    """Yield each group of settings with its name; "" for those that stand in no group."""
    types, sentences = get_type_hints(type(arguments)), sentences_of(type(arguments))
    alone = []
    for field in fields(arguments):
        value = getattr(arguments, field.name)
        if is_dataclass(value):
            yield field.name, [setting for _, group in settings_of(value) for setting in group]
        else:
            alone.append(Setting(field.name, types[field.name], value, sentences.get(field.name, "")))
    if alone:
        yield "", alone


def sentences_of(kind: type) -> dict[str, str]:
    """Return the sentence below each field of a dataclass, by name."""
    tree = ast.parse(Path(sys.modules[kind.__module__].__file__ or "").read_text(encoding="utf-8"))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    return {
        field.target.id: " ".join(str(below.value.value).split())
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }


def train_help(
    defaults: Any,  # noqa: ANN401 -- the arguments of the command
    introduction: str,
    *,
    only: Callable[[str], bool] | None = None,
) -> str:
    """Return the introduction, the everyday settings, then all others by group.

    `only` says by dotted name which settings are shown, without their defaults; None shows all.
    """
    groups = dict(settings_of(defaults))
    if only is not None:
        groups = {
            name: [setting._replace(default=None) for setting in group if only(f"{name}.{setting.name}")]
            for name, group in groups.items()
        }
    by_name = {setting.name: setting for group in groups.values() for setting in group}
    everyday = [by_name[name] for name in EVERYDAY if name in by_name]
    blocks = [introduction.rstrip(), group_help("Everyday settings", everyday)]
    for name, group in groups.items():
        rest = [setting for setting in group if setting.name not in EVERYDAY]
        if rest:
            blocks.append(group_help(TITLES[name], rest))
    return "\n\n".join(blocks) + "\n"


def command_help(command: str, kind: type) -> str:
    """Return the help of a command that takes the folder of a run and a few settings."""
    types, sentences = get_type_hints(kind), sentences_of(kind)
    shown = [Setting(f.name, types[f.name], f.default, sentences[f.name]) for f in fields(kind)]
    num_positional = sum(is_positional(hint) for hint in get_type_hints(kind, include_extras=True).values())
    positional, settings = shown[:num_positional], shown[num_positional:]
    usage = " ".join([f"mambrane {command}", *map(_positional_text, positional)]) + " [settings]" * bool(settings)
    entries = [line for each in positional for line in _entry(each.name.upper(), each.sentence)]
    blocks = [f"{usage}\n\n{fill(kind.__doc__ or '')}", "\n".join(entries)]
    if settings:
        blocks.append(group_help("Settings", settings))
    return "\n\n".join(blocks) + "\n"


def is_positional(hint: Any) -> bool:  # noqa: ANN401 -- an annotation
    """Return whether an argument, by its whole annotation, has no flag."""
    return tyro.conf.Positional in getattr(hint, "__metadata__", ())


def _positional_text(setting: Setting) -> str:
    """Return RUN, [RUN] where it may be left out, RUN RUN ... where there are several."""
    if get_origin(setting.hint) is tuple:
        return f"{setting.name.upper().removesuffix('S')} ..."
    name = setting.name.upper()
    return f"[{name}]" if setting.default in (None, "", "-") else name


def group_help(title: str, settings: Iterable[Setting]) -> str:
    """Return a titled list of settings with what each means and where it stands."""
    lines = [title]
    for setting in settings:
        stands_at = default_text(setting.default)
        lines += _entry(flag_text(setting), setting.sentence + f" [{stands_at}]" * bool(stands_at))
    return "\n".join(lines)


def flag_text(setting: Setting) -> str:
    """Return how a setting is written: `--epochs NUMBER`, `--use-mamba, --no-use-mamba`."""
    flag = "--" + setting.name.replace("_", "-")
    if setting.hint is bool:
        # A question that is off by itself needs no second form to be left off.
        return flag if setting.name in ("dry_run", "json", "list", "private") else f"{flag}, --no-{flag[2:]}"
    flag = "--lr, --learning-rate" if setting.name == "learning_rate" else flag
    return f"{flag} {_placeholder(setting)}"


def default_text(default: Any) -> str:  # noqa: ANN401 -- any setting's value
    """Return a value as text: on, off, 0.001; empty for an empty value."""
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, float):
        return f"{default:g}"
    if isinstance(default, tuple):
        return " ".join(default)
    return "" if default is None else str(default)


def fill(text: str, indent: str = "") -> str:
    """Return text in lines of at most 80 columns."""
    lines = textwrap.wrap(" ".join(text.split()), WIDTH, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines)


def _placeholder(setting: Setting) -> str:
    if get_origin(setting.hint) is Literal:
        return "|".join(map(str, get_args(setting.hint)))
    if without_none(setting.hint) in (int, float):
        return "NUMBER"
    return PLACEHOLDERS.get(setting.name, "NAME")


def _entry(flag: str, sentence: str) -> Sequence[str]:
    """Return the lines of one setting: its flag left, what it means right; below where the flag is long."""
    indent = " " * FLAG_WIDTH
    meaning = textwrap.wrap(sentence, WIDTH - FLAG_WIDTH, break_on_hyphens=False)
    if len(flag) + 4 > FLAG_WIDTH:
        return [f"  {flag}", *(indent + line for line in meaning)]
    return [f"  {flag}".ljust(FLAG_WIDTH) + meaning[0], *(indent + line for line in meaning[1:])]
