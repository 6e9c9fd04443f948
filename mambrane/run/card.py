"""The model card of a run: what it is, what it read, what it learned and forgot, how to use it, what not to expect."""

import re
from collections.abc import Sequence
from typing import Any

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.models.config import ModelConfig
from mambrane.settings.config import RunConfig
from mambrane.settings.shown_switches import on_and_off
from mambrane.watch.table import metric_text, metric_title

FRONT_MATTER = """\
---
library_name: mambrane
pipeline_tag: text-generation
tags:
- mambrane
{tags}
{base_model}---
"""
LIMITS = """\
## Limits

- {parameters:,} parameters, trained on the text named above and on nothing else: what it writes imitates it, is
  often wrong, and must not be taken for facts or advice.
- It was not tuned to follow instructions or to refuse any.
- What it read was not searched for personal data or offensive language.
- Bits per byte were measured on text held out of the same sources; other text will be predicted less well.
"""


def model_card(
    config: RunConfig,
    *,
    name: str,
    step: int,
    weights: str,
    parameters: int,
    domains: Sequence[dict[str, Any]],
    matrix: ForgettingMatrix | None,
    usage: str,
) -> str:
    """Return the card as Markdown.

    `weights` says which they are; `domains` are the records of the text; `usage` shows how the model is opened.
    """
    on, off = on_and_off(config)
    parts = [
        FRONT_MATTER.format(
            tags="\n".join(f"- {tag}" for tag in _tags(config.model)), base_model=_base_model(config.run.init_from)
        ),
        f"# {name}\n",
        f"A language model of {parameters:,} parameters made by Mambrane: {config.model.num_layers} blocks "
        f"({config.model.block_pattern}), width {config.model.hidden_dim}, {step:,} optimizer steps, {weights}.\n",
        f"On: {', '.join(on) or 'nothing'}. Off: {', '.join(off) or 'nothing'}.\n",
        "## Use\n\n" + usage,
        "## Text\n\n" + _text_table(domains),
        "## What was learned\n\n" + _matrix_table(matrix),
        LIMITS.format(parameters=parameters),
    ]
    return "\n".join(parts)


def _base_model(init_from: str) -> str:
    """Return the line that names the published model a run began with; empty where it began with none."""
    name = init_from.removeprefix("hf:")
    return f"base_model: {name}\n" if init_from.startswith("hf:") and re.fullmatch(r"[\w.-]+/[\w.-]+", name) else ""


def _tags(config: ModelConfig) -> list[str]:
    tags = {"mamba": "mamba" in config.block_kinds or config.use_mamba}
    tags["mamba2"] = "mamba2" in config.block_kinds
    tags["spiking-neural-network"] = not {"hybrid", "spiking"}.isdisjoint(config.block_kinds)
    return [tag for tag, is_meant in tags.items() if is_meant] + ["continual-learning"]


def _text_table(domains: Sequence[dict[str, Any]]) -> str:
    if not domains:
        return "The run's record of its text is lost.\n"
    rows = [
        f"| {_cell(domain['name'])} | {domain.get('bytes_read') or 0:,} | `{domain['content_hash'][:16]}` |"
        for domain in domains
    ]
    return "\n".join(["| domain | bytes read | hash of the text |", "|---|---:|---|", *rows]) + "\n"


def _matrix_table(matrix: ForgettingMatrix | None) -> str:
    if matrix is None or not matrix.has_values:
        return "Nothing was measured.\n"
    names = [_cell(name) for name in matrix.domains]
    lines = [
        f"Held-out {matrix.measure.title} by tasks learned (forgetting matrix):\n",
        f"| after task | {' | '.join(names)} |",
        "|---|" + "---:|" * len(names),
    ]
    for row, values in enumerate(matrix.values):
        cells = ["-" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"| {row or 'none'} | {' | '.join(cells)} |")
    metrics = [
        f"- {metric_title(name, matrix.measure)}: {metric_text(name, metric, matrix.measure)}"
        for name, metric in matrix.metrics().items()
    ]
    return "\n".join([*lines, "", *metrics]) + "\n"


def _cell(text: str) -> str:
    """Return text that cannot leave its cell."""
    return " ".join(text.replace("|", "\\|").split())
