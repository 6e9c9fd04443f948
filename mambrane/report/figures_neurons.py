"""Pictures of the neurons: the spikes of one text, and how often each neuron fires."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mambrane.measure.probe import Probe
from mambrane.report.figures import (
    FIRST_POPULATION,
    RULE,
    SECOND_POPULATION,
    SOFT_INK,
    Numbers,
    Picture,
    is_narrow,
    picture,
)
from mambrane.watch.formatting import percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NARROW_TOKENS = 40
PX_PER_NEURON, SMALLEST_PANEL_PX, LARGEST_PANEL_PX, TEXT_PX = 2.2, 90, 260, 120
VISIBLE = {"\n": "\u21b5", "\t": "\u2192"}


class _Panel:
    """A raster of one population of one block."""

    def __init__(self, title: str, spikes_TS: np.ndarray, colour: str) -> None:
        self.title, self.spikes_TS, self.colour = title, spikes_TS, colour

    def rows(self) -> list[tuple[str, int, int]]:
        """Return each spike: population, tick, neuron."""
        return [(self.title, tick, unit) for tick, unit in np.argwhere(self.spikes_TS).tolist()]

    @property
    def height_px(self) -> int:
        """Height of the panel."""
        return int(np.clip(PX_PER_NEURON * self.spikes_TS.shape[1], SMALLEST_PANEL_PX, LARGEST_PANEL_PX))


def raster_picture(probe: Probe, blocks: Sequence[int]) -> Picture:
    """Return every spike of some blocks while the text was read, with the text and its surprise below."""
    panels = _panels(probe, blocks)
    return picture(
        "raster",
        sum(panel.height_px + 26 for panel in panels) + TEXT_PX,
        partial(_draw_raster, probe=probe, panels=panels),
        description="Spikes of each neuron at each token of a text. "
        + "; ".join(
            f"{panel.title}: {percent(float(panel.spikes_TS.mean()))} of all ticks and neurons" for panel in panels
        ),
        numbers=Numbers(("population", "tick", "neuron"), [row for panel in panels for row in panel.rows()]),
    )


def _panels(probe: Probe, blocks: Sequence[int]) -> list[_Panel]:
    panels = []
    for number in blocks:
        block = probe.blocks[number]
        if block.first_spikes is not None:
            panels.append(_Panel(f"block {number + 1}, first population", block.first_spikes, FIRST_POPULATION))
        if block.second_spikes is not None:
            panels.append(_Panel(f"block {number + 1}, second population", block.second_spikes, SECOND_POPULATION))
    return panels


def _draw_raster(figure: "Figure", *, probe: Probe, panels: Sequence[_Panel]) -> None:
    num_tokens = min(len(probe.pieces), NARROW_TOKENS) if is_narrow(figure) else len(probe.pieces)
    heights = [*(panel.height_px for panel in panels), 50]
    all_axes = figure.subplots(len(panels) + 1, 1, sharex=True, height_ratios=heights)
    for axes, panel in zip(all_axes, panels, strict=False):
        _draw_spikes(axes, panel, probe.ticks_per_token, num_tokens)
    _draw_surprise(all_axes[-1], probe, num_tokens)


def _draw_spikes(axes: "Axes", panel: _Panel, ticks_per_token: int, num_tokens: int) -> None:
    """Draw one short stroke a spike; all strokes are one path, which keeps the page small."""
    ticks, units = np.nonzero(panel.spikes_TS[: num_tokens * ticks_per_token])
    nothing = np.full(len(ticks), np.nan)
    times = (ticks + 0.5) / ticks_per_token
    x = np.stack([times, times, nothing], axis=1).ravel()
    y = np.stack([units + 0.05, units + 0.95, nothing], axis=1).ravel()
    width = max(0.8, 2.2 / ticks_per_token)
    axes.plot(x, y, color=panel.colour, linewidth=width, solid_capstyle="butt")
    axes.set_title(panel.title, color=panel.colour, pad=6)
    axes.set_ylim(0, panel.spikes_TS.shape[1])
    axes.set_yticks([0, panel.spikes_TS.shape[1]])
    axes.set_xticks([])
    axes.grid(visible=False)


def _draw_surprise(axes: "Axes", probe: Probe, num_tokens: int) -> None:
    """Draw how unexpected each token was, and the token itself below its bar."""
    centres = np.arange(num_tokens) + 0.5
    axes.bar(centres, np.nan_to_num(probe.surprise_bits[:num_tokens]), width=0.7, color=SOFT_INK, alpha=0.55)
    axes.set_title("surprise, bits per token", color=SOFT_INK, pad=6)
    axes.yaxis.set_major_locator(_few_ticks())
    axes.set_xlim(0, num_tokens)
    labels = ["".join(map(_shown, piece)) for piece in probe.pieces[:num_tokens]]
    longest = max(map(len, labels))
    # One text a token and no ticks: a tick costs ten times as much to draw.
    axes.set_xticks([])
    style: dict[str, Any] = {
        "va": "top",
        "ha": "center",
        "fontsize": 11 if longest == 1 else 9,
        "rotation": 0 if longest == 1 else 90,
        "xycoords": axes.get_xaxis_transform(),
        "xytext": (0, -3),
        "textcoords": "offset points",
    }
    for centre, label in zip(centres, labels, strict=True):
        axes.annotate(label, (centre, 0), annotation_clip=False, **style)


def _shown(character: str) -> str:
    """Return a character as it can be drawn; control characters, as bytes of an image may be, as a dot."""
    return VISIBLE.get(character, character if character.isprintable() else ".")


def _few_ticks():  # noqa: ANN202 -- a matplotlib locator
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(2)


def rates_picture(probe: Probe) -> Picture:
    """Return how often neurons fire, block by block: mean, and the range that holds four neurons in five."""
    populations = [
        (f"block {number + 1}, {which} population", rates)
        for number, block in enumerate(probe.blocks)
        for which, rates in (("first", block.first_rates), ("second", block.second_rates))
        if rates is not None
    ]
    return picture(
        "rates",
        60 + 52 * len(probe.spiking_blocks),
        partial(_draw_rates, probe=probe),
        description="Firing rates. "
        + "; ".join(f"{name}: mean {percent(float(rates.mean()))}" for name, rates in populations),
        numbers=Numbers(
            ("population", "neuron", "spikes per tick"),
            [(name, unit, rate) for name, rates in populations for unit, rate in enumerate(rates.tolist())],
        ),
    )


def _draw_rates(figure: "Figure", *, probe: Probe) -> None:
    from matplotlib.ticker import PercentFormatter

    axes = figure.subplots()
    numbers = probe.spiking_blocks
    for row, number in enumerate(numbers):
        block = probe.blocks[number]
        populations = [(block.first_rates, FIRST_POPULATION, -0.15), (block.second_rates, SECOND_POPULATION, 0.15)]
        for rates, colour, offset in populations:
            if rates is not None:
                _draw_rate(axes, rates, row + offset, colour)
    axes.set_ylim(len(numbers) - 0.5, -0.5)
    axes.set_yticks(range(len(numbers)), [f"block {number + 1}" for number in numbers])
    axes.set_xlim(left=0)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=RULE)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("ticks in which a neuron fires")
    first = axes.set_title("first population", color=FIRST_POPULATION)
    if any(block.second_rates is not None for block in probe.blocks):
        beside: dict[str, Any] = {
            "xycoords": first,
            "xytext": (14, 0),
            "textcoords": "offset points",
            "annotation_clip": False,
            "va": "top",
        }
        axes.annotate("second population", (1, 1), color=SECOND_POPULATION, fontsize=first.get_fontsize(), **beside)


def _draw_rate(axes: "Axes", rates: np.ndarray, height: float, colour: str) -> None:
    low, high = np.quantile(rates, [0.1, 0.9])
    axes.plot([low, high], [height, height], color=colour, alpha=0.4, linewidth=5)
    axes.plot(rates.mean(), height, "o", color=colour, markersize=7)


def silent_share(rates: np.ndarray) -> float:
    """Return the part of the neurons that never fired."""
    return float((rates == 0).mean())
