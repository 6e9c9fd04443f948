"""Pictures of a study, as SVG and PDF: means with their intervals, and a metric over a setting."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mambrane.settings.config import SECTION_OF
from mambrane.storage.atomic_files import atomic_write_bytes
from mambrane.studies.pages import heading
from mambrane.studies.results import ArmResult, StudyTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = list[tuple[float, ArmResult]]
"""Arms by the number at which they stand on an axis."""
FORMATS = ("svg", "pdf")
INK, ACCENT, RULE = "#1f2933", "#1f6f8b", "#dfe3e8"
LINES = (ACCENT, "#b5542b", "#5b7f2b", "#7a4b8a")
"""Of several lines in one picture."""
WIDTH_INCHES, ROW_INCHES = 7.0, 0.36
# Text as text, and ids that do not change from one drawing to the next.
_STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "mambrane", "pdf.fonttype": 42, "font.size": 10}


def write_pictures(table: StudyTable, folder: Path) -> list[Path]:
    """Draw a picture a metric, and one over the study's axis where it has one; returns the files."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    written = []
    with mpl.rc_context(_STYLE):
        for name, figure in _figures(table):
            FigureCanvasAgg(figure)
            for form in FORMATS:
                path = folder / f"{name}.{form}"
                atomic_write_bytes(path, _drawn(figure, form))
                written.append(path)
    return written


def _drawn(figure: "Figure", form: str) -> bytes:
    import io

    drawn = io.BytesIO()
    metadata: dict[str, None] = {"Date": None} if form == "svg" else {"CreationDate": None}
    figure.savefig(drawn, format=form, metadata=metadata)
    return drawn.getvalue()


def _figures(table: StudyTable) -> Iterator[tuple[str, "Figure"]]:
    for metric in table.shown_metrics():
        yield metric, _means(table, metric)
    if table.study.axis:
        for metric in dict.fromkeys(("gap_closed", table.study.metric)):
            points = axis_points(table, metric)
            if len(points) > 1:
                yield f"{metric}-over-{table.study.axis.replace('_', '-')}", _over_axis(table, metric, points)


def _means(table: StudyTable, metric: str) -> "Figure":
    """Draw each arm's mean as a point on its interval, and the baseline's mean as a line."""
    from matplotlib.figure import Figure

    arms = [arm for arm in table.arms if arm.estimates[metric] is not None]
    figure = Figure(figsize=(WIDTH_INCHES, 1.1 + ROW_INCHES * len(arms)), layout="constrained")
    axes = figure.subplots()
    for row, arm in enumerate(arms):
        found = arm.estimates[metric]
        assert found is not None, "arms without it were left out"
        if found.low is not None and found.high is not None:
            axes.plot([found.low, found.high], [row, row], color=ACCENT, linewidth=2, solid_capstyle="butt")
        axes.plot([found.mean], [row], "o", color=ACCENT)
        if arm.name == table.study.baseline:
            axes.axvline(found.mean, color=RULE, zorder=0)
    axes.set_yticks(range(len(arms)), [arm.name for arm in arms])
    axes.invert_yaxis()
    axes.set_xlabel(heading(metric, table))
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure


def axis_points(table: StudyTable, metric: str) -> Points:
    """Return the arms that set the study's axis to a number of their own and have the metric, by that number."""
    name = table.study.axis.replace("-", "_")
    points: Points = []
    for arm in table.arms:
        own = {key.replace("-", "_"): value for key, value in table.study.arms[arm.name].items()}
        value = own.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and arm.estimates[metric] is not None:
            points.append((float(value), arm))
    return sorted(points, key=lambda point: point[0])


def series_of(table: StudyTable, points: Points) -> dict[str, Points]:
    """Return the points of each line, by the value that the arms have for the study's series; one without a series."""
    name = table.study.series.replace("-", "_")
    lines: dict[str, Points] = {}
    for point in points:
        config = table.study.configurations[point[1].name]
        value = str(getattr(getattr(config, SECTION_OF[name]), name)) if name else ""
        lines.setdefault(value, []).append(point)
    return lines


def _over_axis(table: StudyTable, metric: str, points: Points) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, 3.6), layout="constrained")
    axes = figure.subplots()
    lines = series_of(table, points)
    for color, (value, of_line) in zip(itertools.cycle(LINES), lines.items(), strict=False):
        places, found = [x for x, _ in of_line], [arm.estimates[metric] for _, arm in of_line]
        means = [each.mean for each in found if each is not None]
        lows = [each.mean if each.low is None else each.low for each in found if each is not None]
        highs = [each.mean if each.high is None else each.high for each in found if each is not None]
        axes.fill_between(places, lows, highs, color=color, alpha=0.2, linewidth=0)
        axes.plot(places, means, "o-", color=color, label=value)
    if len(lines) > 1:
        axes.legend(title=_words(table.study.series), frameon=False)
    else:
        for x, arm in points:
            estimate = arm.estimates[metric]
            assert estimate is not None, "arms without it were left out"
            place = (x, estimate.mean)
            axes.annotate(arm.name, place, xytext=(0, 8), textcoords="offset points", ha="center", color=INK)
    places = [x for x, _ in points]
    if min(places) > 0 and max(places) / min(places) > 8:
        axes.set_xscale("log")
        own_places = sorted(set(places))
        axes.set_xticks(own_places, [f"{place:g}" for place in own_places])
        axes.minorticks_off()
    axes.set_xlabel(_words(table.study.axis))
    axes.set_ylabel(heading(metric, table))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _words(setting: str) -> str:
    return setting.replace("_", " ").replace("-", " ")
