"""The drawing table of the report: one style, one set of colours, each picture in a wide and a narrow form.

A picture is a function that draws on an empty figure of a given width. It is drawn twice, for a page and for a phone,
so that letters have the same size on both. The result is SVG whose text is text, in the typeface of the page; one unit
is one CSS pixel.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from mambrane.watch.formatting import shortened
from mambrane.watch.history import Series, TaskSpan

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT_INK, RULE, PAPER = "#1f2933", "#6b7683", "#dfe3e8", "#ffffff"
FIRST_POPULATION, SECOND_POPULATION, MAMBA = "#1f6f8b", "#b4610f", "#7a5c99"
ALARM = "#c0392b"
DOMAIN_COLOURS = ("#1f6f8b", "#b4610f", "#417f3f", "#a8487a", "#7a5c99", "#7d6c33", "#3678a8", "#6e4a32")

DARK = {
    INK: "#e6eaee", SOFT_INK: "#a9b4bf", RULE: "#3a4550", PAPER: "#14191f", ALARM: "#ff7a6b",
    "#1f6f8b": "#55b3d3", "#b4610f": "#f0a04b", "#7a5c99": "#b799da", "#417f3f": "#80c67d",
    "#a8487a": "#e284b6", "#7d6c33": "#cfba6c", "#3678a8": "#83bfe9", "#6e4a32": "#c9a083",
}  # fmt: skip
"""What each colour is on a dark page. All but rules and paper may be text: their contrast is at least 4.5 on both."""

WIDE_PX, NARROW_PX = 760, 350
PX_PER_INCH = 72
PX_PER_LETTER = 6
LONGEST_NAME, LONGEST_NAME_NARROW = 24, 14
"""Of a domain beside its curve, in letters."""
POINTS_PER_CURVE = 240

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 12.5,
    "axes.titlesize": 13,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlepad": 8,
    "axes.labelsize": 12.5,
    "axes.labelcolor": SOFT_INK,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": SOFT_INK,
    "ytick.labelcolor": SOFT_INK,
    "xtick.labelsize": 12.5,
    "ytick.labelsize": 12.5,
    "ytick.major.size": 0,
    "text.color": INK,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}

Draw = Callable[["Figure"], None]


class Numbers(NamedTuple):
    """What a picture shows, as a table."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Picture(NamedTuple):
    """A finished picture: SVG for a page and for a phone; for download a file of its own, and its numbers."""

    wide: str
    narrow: str
    name: str = ""
    file: str = ""
    """SVG with its own colours and prologue."""
    numbers: Numbers | None = None


def picture(name: str, height_px: int, draw: Draw, *, description: str, numbers: Numbers | None = None) -> Picture:
    """Return a picture.

    Args:
        name: unlike that of any other picture on the page; keeps references inside the SVG apart.
        height_px: height in both forms.
        draw: draws on an empty figure; looks at the figure's width if the form matters.
        description: what one would hear in place of the picture: what it shows, and what one sees in it.
        numbers: what it shows, as a table.
    """
    wide, narrow = (_svg(f"{name}-{width}", width, height_px, draw) for width in (WIDE_PX, NARROW_PX))
    return Picture(_inline(wide, description), _inline(narrow, description), name, wide, numbers)


def is_narrow(figure: "Figure") -> bool:
    """Return True for the form that is read on a phone."""
    return bool(figure.get_figwidth() * PX_PER_INCH < WIDE_PX)


def name_in(figure: "Figure", name: str) -> str:
    """Return the name of a domain as a label, its middle left out where it would take the room of the curves."""
    return shortened(name, LONGEST_NAME_NARROW if is_narrow(figure) else LONGEST_NAME)


def _svg(name: str, width_px: int, height_px: int, draw: Draw) -> str:
    with _style(name):
        # The figure is made without pyplot: no window system, nothing global.
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

        layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03)
        figure = Figure(figsize=(width_px / PX_PER_INCH, height_px / PX_PER_INCH), layout=layout)
        draw(figure)
        file = io.StringIO()
        no_metadata = {"Creator": None, "Date": None, "Format": None, "Type": None}
        FigureCanvasSVG(figure).print_svg(file, metadata=no_metadata)
    return file.getvalue()


def variable(colour: str) -> str:
    """Return a colour of the drawing table as the page's own, which a dark page changes; any other as it is."""
    return f"var(--c{colour[1:]})" if colour in DARK else colour


@contextmanager
def _style(name: str) -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        yield


def _inline(svg: str, description: str) -> str:
    """Return SVG for the inside of a page: no prologue, the page's typeface and colours, short numbers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 role="img"', svg, count=1)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"(?<=: )#[0-9a-f]{6}", lambda found: variable(found.group()), svg)
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d\.\d)\d+", r"\1", tag.group()), svg)
    # Last, so that the numbers in it stay as they are.
    return svg.replace('role="img"', f'role="img" aria-label="{escape(description)}"', 1)


def smooth(series: Series, num_points: int) -> tuple[Series, np.ndarray, np.ndarray]:
    """Return a curve of at most `num_points` means, with the lowest and the highest value behind each."""
    num_groups = min(num_points, len(series.steps))
    groups = np.array_split(np.arange(len(series.steps)), num_groups)
    means = Series(
        np.array([series.steps[group].mean() for group in groups]),
        np.array([series.values[group].mean() for group in groups]),
    )
    lowest = np.array([series.values[group].min() for group in groups])
    highest = np.array([series.values[group].max() for group in groups])
    return means, lowest, highest


def draw_series(
    axes: "Axes", series: Series, colour: str, *, num_points: int = POINTS_PER_CURVE, with_range: bool = True
) -> None:
    """Draw a number by step: its mean as a line, its range as a band."""
    means, lowest, highest = smooth(series, num_points)
    if with_range and len(means.steps) < len(series.steps):
        axes.fill_between(means.steps, lowest, highest, color=colour, alpha=0.15, linewidth=0)
    axes.plot(means.steps, means.values, color=colour)


def mark_tasks(axes: "Axes", tasks: Sequence[TaskSpan], *, with_names: bool) -> None:
    """Shade every other task and draw its boundaries; names stand above the axes, each in its colour."""
    for task in tasks:
        if task.task % 2:
            axes.axvspan(task.first_step, task.last_step, color=RULE, alpha=0.35, linewidth=0)
        if with_names and task.last_step > task.first_step:
            middle = (task.first_step + task.last_step) / 2
            share = (task.last_step - task.first_step) / max(tasks[-1].last_step, 1)
            fits = (
                len(task.name) * PX_PER_LETTER < share * cast("Figure", axes.figure).get_figwidth() * PX_PER_INCH * 0.85
            )
            words: dict[str, Any] = {
                "ha": "center",
                "va": "bottom",
                "clip_on": False,
                "color": domain_colour(task.task),
            }
            axes.annotate(
                task.name if fits else str(task.task + 1),
                (middle, 1),
                xycoords=axes.get_xaxis_transform(),
                xytext=(0, 4),
                textcoords="offset points",
                **words,
            )
    if tasks:
        axes.set_xlim(tasks[0].first_step, max(tasks[-1].last_step, tasks[0].first_step + 1))


def domain_colour(index: int) -> str:
    """Return the colour of a domain, the same in every picture."""
    return DOMAIN_COLOURS[index % len(DOMAIN_COLOURS)]


def shades(colour: str, number: int) -> list[str]:
    """Return shades of a colour, from pale to the colour itself."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    strengths = np.linspace(0.35, 1.0, number) if number > 1 else [1.0]
    return ["#" + "".join(f"{round(255 - (255 - c) * s):02x}" for c in (red, green, blue)) for s in strengths]


def spread(positions: Sequence[float], gap: float, limits: tuple[float, float] = (-np.inf, np.inf)) -> list[float]:
    """Return positions moved as little as needed so that neighbours, in their order, are `gap` apart.

    All lie within the limits, where there is room for them.
    """
    order = np.argsort(positions, kind="stable")
    moved = np.asarray(positions, dtype=float)[order] - gap * np.arange(len(order))
    highest_first = max(limits[0], limits[1] - gap * (len(order) - 1))
    moved = np.clip(_isotonic(moved), limits[0], highest_first) + gap * np.arange(len(order))
    result = np.empty(len(order))
    result[order] = moved
    return result.tolist()


def _isotonic(values: np.ndarray) -> np.ndarray:
    """Return the nondecreasing sequence nearest to the values: pool neighbours that are out of order."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, size = float(value), 1
        while pools and pools[-1][0] > mean:
            other, other_size = pools.pop()
            mean, size = (mean * size + other * other_size) / (size + other_size), size + other_size
        pools.append((mean, size))
    return np.repeat([mean for mean, _ in pools], [size for _, size in pools])
