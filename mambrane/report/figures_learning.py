"""Pictures of what was learned: losses by step, numbers by step, forgetting curves."""

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.report.figures import (
    ALARM,
    FIRST_POPULATION,
    POINTS_PER_CURVE,
    PX_PER_INCH,
    Numbers,
    Picture,
    domain_colour,
    draw_series,
    is_narrow,
    mark_tasks,
    name_in,
    picture,
    shades,
    smooth,
    spread,
)
from mambrane.watch import formatting
from mambrane.watch.history import RunHistory, Series, TaskSpan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_GAP_PX = 17.0
FRAME_PX = 68.0
"""Part of a picture's height outside the axes, nearly: title and labels."""
LEAST_HEIGHT_PX = 340


class Curve(NamedTuple):
    """A number by step and its colour."""

    series: Series
    colour: str


class Panel(NamedTuple):
    """Curves over one axis of steps."""

    title: str
    curves: tuple[Curve, ...]
    height: float = 1.0
    """Height beside the other panels of a picture."""
    is_by_domain: bool = False
    """Draw each task's part in the colour of its domain, and mark the steps that were skipped."""
    heldout: tuple[float | None, ...] = ()
    """What each task measured on its own held-out text when it ended; a ring at its end."""


def training_picture(history: RunHistory, matrix: ForgettingMatrix | None) -> Picture:
    """Return training loss with held-out loss after each task, learning rate and gradient norm, tasks marked."""
    heldout = heldout_by_task(history, matrix)
    title = loss_title(history) + "; ring: held-out text" * bool(heldout)
    loss = Panel(title, (Curve(loss_series(history), FIRST_POPULATION),), 3.0, True, heldout)
    rest = [("learning_rate", "learning rate, per step"), ("gradient_norm", "gradient norm before clipping")]
    rest += [(name, f"{name.partition('/')[2]}: added to the loss, nats per token") for name in history.added_losses()]
    return panels_picture("training", history, [loss, *number_panels(history, rest)])


def heldout_by_task(history: RunHistory, matrix: ForgettingMatrix | None) -> tuple[float | None, ...]:
    """Return each task's loss on its own held-out text at its end; empty where none has the unit of the curve."""
    if matrix is None or history.series(matrix.measure.name) is None:
        return ()
    heldout = tuple(map(matrix.value_after, range(matrix.num_tasks)))
    return heldout if any(loss is not None for loss in heldout) else ()


def loss_series(history: RunHistory) -> Series:
    """Return the training loss in bits per byte where the log has it, else in nats per token."""
    series = history.series("bits_per_byte") or history.series("loss")
    assert series is not None, "a picture of losses needs an applied step"
    return series


def loss_title(history: RunHistory) -> str:
    """Return what `loss_series` measures."""
    unit = "bits per byte" if history.series("bits_per_byte") is not None else "nats per token"
    return f"training loss, {unit}"


def number_panels(history: RunHistory, numbers: Sequence[tuple[str, str]]) -> list[Panel]:
    """Return a panel for each of (name of a number, title) that the run has."""
    found = [(title, history.series(name)) for name, title in numbers]
    return [Panel(title, (Curve(series, FIRST_POPULATION),)) for title, series in found if series is not None]


def block_panels(history: RunHistory, numbers: Sequence[tuple[str, str, str]]) -> list[Panel]:
    """Return a panel for each of (name without the block's number, title, colour): a curve a block, pale to plain."""
    panels = []
    for name, title, colour in numbers:
        names = [candidate for candidate in history.extension_numbers() if re.fullmatch(rf"{name}_\d+", candidate)]
        if not names:
            continue
        names.sort(key=lambda candidate: int(candidate.rpartition("_")[2]))
        colours = shades(colour, len(names))
        found = zip(map(history.series, names), colours, strict=True)
        curves = [Curve(series, shade) for series, shade in found if series is not None]
        panels.append(Panel(title, tuple(curves), 1.5))
    return panels


def panels_picture(name: str, history: RunHistory, panels: Sequence[Panel]) -> Picture:
    """Return panels of numbers, one below the other, over the applied steps of the run."""
    return picture(
        name,
        70 + sum(round(42 + 62 * panel.height) for panel in panels),
        partial(_draw_panels, history=history, panels=panels),
        description="By optimizer step: " + "; ".join(map(_in_words, panels)),
        numbers=Numbers(
            ("panel", "curve", "step", "mean", "lowest", "highest"), [row for panel in panels for row in _rows(panel)]
        ),
    )


def _in_words(panel: Panel) -> str:
    """Return what the curves of a panel do."""
    ways = [
        f"{curve.series.values[0]:.3g} at first, {curve.series.values[-1]:.3g} at the end" for curve in panel.curves
    ]
    heldout = [f"{loss:.3g}" for loss in panel.heldout if loss is not None]
    rings = f", held out after each task: {', '.join(heldout)}" if heldout else ""
    return f"{panel.title}: {', then '.join(ways)}{rings}"


def _rows(panel: Panel) -> list[tuple[str, int, float, float, float, float]]:
    rows = []
    for number, curve in enumerate(panel.curves, start=1):
        means, lowest, highest = smooth(curve.series, POINTS_PER_CURVE)
        shown = zip(means.steps.tolist(), means.values.tolist(), lowest.tolist(), highest.tolist(), strict=True)
        rows += [(panel.title, number, *each) for each in shown]
    return rows


def _draw_panels(figure: "Figure", *, history: RunHistory, panels: Sequence[Panel]) -> None:
    heights = [panel.height for panel in panels]
    all_axes = figure.subplots(len(panels), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    tasks = history.tasks()
    for number, (axes, panel) in enumerate(zip(all_axes, panels, strict=True)):
        if panel.is_by_domain:
            _draw_by_domain(axes, panel.curves[0].series, tasks)
            _mark_skipped(axes, history)
            _mark_heldout(axes, panel.heldout, tasks)
        else:
            _draw_curves(axes, panel.curves)
        with_names = number == 0 and len(tasks) > 1
        axes.set_title(panel.title, pad=22 if with_names else 6)
        mark_tasks(axes, tasks, with_names=with_names)
        _tidy(axes, panel)
    all_axes[-1].set_xlabel("optimizer steps")


def _draw_curves(axes: "Axes", curves: Sequence[Curve]) -> None:
    """Draw curves; the range behind each point is shown where one curve is alone."""
    for curve in curves:
        draw_series(axes, curve.series, curve.colour, with_range=len(curves) == 1)


def _draw_by_domain(axes: "Axes", series: Series, tasks: Sequence[TaskSpan]) -> None:
    """Draw each task in the colour of its domain, so that no mean reaches across a boundary."""
    for task in tasks:
        inside = (series.steps > task.first_step) & (series.steps <= task.last_step)
        if inside.any():
            own = Series(series.steps[inside], series.values[inside])
            num_points = math.ceil(POINTS_PER_CURVE * len(own.steps) / len(series.steps))
            draw_series(axes, own, domain_colour(task.task), num_points=num_points)


def _mark_heldout(axes: "Axes", heldout: Sequence[float | None], tasks: Sequence[TaskSpan]) -> None:
    """Put a ring at the end of each task where its held-out loss stands."""
    for task in tasks:
        loss = heldout[task.task] if task.task < len(heldout) else None
        if loss is not None:
            ring: dict[str, Any] = {
                "markerfacecolor": "white",
                "markersize": 7,
                "markeredgewidth": 1.8,
                "clip_on": False,
                "zorder": 5,
            }
            axes.plot(task.last_step, loss, "o", color=domain_colour(task.task), **ring)


def _tidy(axes: "Axes", panel: Panel) -> None:
    """Few ticks and short numbers; what is never negative starts at zero, so that small changes look small."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if min(curve.series.values.min() for curve in panel.curves) >= 0:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:.4g}"))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: formatting.count(number)))
    axes.tick_params(axis="x", length=3)


def _mark_skipped(axes: "Axes", history: RunHistory) -> None:
    if history.skipped_steps:
        bottom = [0.0] * len(history.skipped_steps)
        transform = axes.get_xaxis_transform()
        axes.plot(history.skipped_steps, bottom, "^", color=ALARM, transform=transform, clip_on=False, markersize=6)


def forgetting_picture(matrix: ForgettingMatrix) -> Picture:
    """Return the loss on each domain after each task, one curve a domain."""
    return picture(
        "forgetting",
        max(LEAST_HEIGHT_PX, math.ceil(FRAME_PX + LABEL_GAP_PX * len(matrix.domains))),
        partial(_draw_forgetting, matrix=matrix),
        description=f"Held-out {matrix.measure.title} by tasks learned. " + "; ".join(_ways(matrix)),
        numbers=Numbers(("tasks learned", *matrix.domains), [(row, *each) for row, each in enumerate(matrix.values)]),
    )


def _ways(matrix: ForgettingMatrix) -> list[str]:
    """Return what became of each domain: untrained, when it was learned, at the end."""
    ways = []
    for column, name in enumerate(matrix.domains):
        own = matrix.own_row(column)
        seen = [(row, each[column]) for row, each in enumerate(matrix.values) if each[column] is not None]
        words = [f"{loss:.2f} {'untrained' if row == 0 else f'after task {row}'}" for row, loss in seen]
        kept = [word for (row, _), word in zip(seen, words, strict=True) if row in (0, own, seen[-1][0])]
        ways.append(f"{name}: {', '.join(kept)}")
    return ways


def _draw_forgetting(figure: "Figure", *, matrix: ForgettingMatrix) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots()
    ends = []
    for column in range(len(matrix.domains)):
        points = [
            (row, loss) for row in range(matrix.num_tasks + 1) if (loss := matrix.values[row][column]) is not None
        ]
        if points:
            _draw_domain(axes, column, points, matrix.own_row(column) or 1)
            ends.append((column, points[-1]))
    axes.set_title(f"held-out {matrix.measure.title}")
    axes.set_xlabel("tasks learned")
    axes.set_xlim(-0.15, matrix.num_tasks + 0.15)
    most_ticks = 6 if is_narrow(figure) else 12
    axes.xaxis.set_major_locator(MaxNLocator(min(matrix.num_tasks + 1, most_ticks), integer=True))
    axes.set_ylim(bottom=max(0.0, math.floor(axes.get_ylim()[0])))
    _label_ends(figure, axes, matrix, ends)


def _draw_domain(axes: "Axes", column: int, points: Sequence[tuple[int, float]], own_row: int) -> None:
    """Draw a domain faint before its own task and plain from it on, with a ring where it was learned."""
    colour = domain_colour(column)
    before = [point for point in points if point[0] <= own_row]
    after = [point for point in points if point[0] >= own_row]
    if before:
        axes.plot(*zip(*before, strict=True), color=colour, alpha=0.45, linewidth=1.2, linestyle=(0, (2, 2)))
    if after:
        axes.plot(*zip(*after, strict=True), color=colour, linewidth=2)
        axes.plot(*after[0], "o", color=colour, markerfacecolor="white", markersize=6.5, markeredgewidth=1.8)


def _label_ends(
    figure: "Figure", axes: "Axes", matrix: ForgettingMatrix, ends: Sequence[tuple[int, tuple[int, float]]]
) -> None:
    """Write each domain's name and last loss beside the end of its curve, moved apart where they would touch.

    None leaves the axes: they would shrink to make room for it, and the labels would move together with them.
    """
    low, high = axes.get_ylim()
    px_per_unit = (figure.get_figheight() * PX_PER_INCH - FRAME_PX) / (high - low)
    limits = (low * px_per_unit, high * px_per_unit)
    heights = spread([loss * px_per_unit for _, (_, loss) in ends], LABEL_GAP_PX, limits)
    last_row = max(row for _, (row, _) in ends)
    for (column, (_, loss)), height in zip(ends, heights, strict=True):
        where = (last_row + 0.03 * matrix.num_tasks + 0.1, height / px_per_unit)
        words = f"{name_in(figure, matrix.domains[column])}  {loss:.2f}"
        axes.text(*where, words, va="center", color=domain_colour(column))
