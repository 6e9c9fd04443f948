"""The picture of what was kept: each domain right after its task and at the end, beside the bounds of a study."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.report.figures import PAPER, RULE, SOFT_INK, Numbers, Picture, domain_colour, is_narrow, name_in, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BOUND_MARKS = {"naive": "x", "joint": "D"}


class Kept(NamedTuple):
    """A domain that was learned and measured again later."""

    name: str
    column: int
    learned: float
    """Right after its own task."""
    now: float
    bounds: dict[str, float]
    """At the end of the bounds' runs, by their name."""


def kept_domains(matrix: ForgettingMatrix, bounds: Mapping[str, ForgettingMatrix]) -> list[Kept]:
    """Return every domain that was measured after its own task and later, in the order of the columns."""
    kept = []
    for column, name in enumerate(matrix.domains):
        own = matrix.own_row(column)
        measured = [row for row in range(matrix.num_tasks + 1) if matrix.values[row][column] is not None]
        if own is None or own not in measured or measured[-1] <= own:
            continue
        learned, now = matrix.values[own][column], matrix.values[measured[-1]][column]
        assert learned is not None, "it was measured"
        assert now is not None, "it was measured"
        of_bounds = {bound: last for bound, each in bounds.items() if (last := _last(each, name)) is not None}
        kept.append(Kept(name, column, learned, now, of_bounds))
    return kept


def _last(matrix: ForgettingMatrix, domain: str) -> float | None:
    """Return the last value of a domain in another run; None where it has none."""
    if domain not in matrix.domains:
        return None
    column = matrix.domains.index(domain)
    return next((row[column] for row in reversed(matrix.values) if row[column] is not None), None)


def most_forgotten(matrix: ForgettingMatrix, kept: list[Kept]) -> str:
    """Return in a sentence which domain was forgotten most, and by how much."""
    sign = 1 if matrix.measure.is_lower_better else -1
    lost, name = max((sign * (each.now - each.learned), each.name) for each in kept)
    return f"Most forgotten: {name}, by {lost:.3f} {matrix.measure.unit}." if lost > 0 else "None was forgotten."


def kept_picture(matrix: ForgettingMatrix, kept: list[Kept]) -> Picture:
    """Return each domain's way from right after its task to now, with the bounds of the study as marks."""
    ways = [_in_words(each) for each in kept]
    names = sorted({bound for each in kept for bound in each.bounds})
    rows = [(each.name, each.learned, each.now, *(each.bounds.get(name) for name in names)) for each in kept]
    return picture(
        "kept",
        90 + 30 * len(kept),
        partial(_draw_kept, matrix=matrix, kept=kept),
        description=f"Forgetting by domain, {matrix.measure.title}: {'; '.join(ways)}. {most_forgotten(matrix, kept)}",
        numbers=Numbers(("domain", "when learned", "now", *names), rows),
    )


def _in_words(each: Kept) -> str:
    bounds = [f"{value:.3f} with {bound} training" for bound, value in sorted(each.bounds.items())]
    words = [f"{each.learned:.3f} when learned", f"{each.now:.3f} now", *bounds]
    return f"{each.name} {', '.join(words)}"


def _draw_kept(figure: "Figure", *, matrix: ForgettingMatrix, kept: list[Kept]) -> None:
    axes = figure.subplots()
    for row, each in enumerate(kept):
        _draw_way(axes, each, row)
    axes.set_ylim(len(kept) - 0.4, -0.6)
    axes.set_yticks(range(len(kept)), [name_in(figure, each.name) for each in kept])
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=RULE)
    # Names stand to the left of it, so that on a phone it is too long for one line.
    separator = ",\n" if is_narrow(figure) else ": "
    axes.set_title(f"held-out {matrix.measure.title}{separator}ring when learned, dot now", pad=8)
    if any(each.bounds for each in kept):
        axes.set_xlabel("cross: naive training; diamond: joint")


def _draw_way(axes: "Axes", each: Kept, row: int) -> None:
    colour = domain_colour(each.column)
    ring: dict[str, Any] = {"markerfacecolor": PAPER, "markersize": 7, "markeredgewidth": 1.8}
    axes.plot([each.learned, each.now], [row, row], color=colour, linewidth=2, alpha=0.6)
    axes.plot(each.learned, row, "o", color=colour, **ring)
    axes.plot(each.now, row, "o", color=colour, markersize=7)
    for bound, value in each.bounds.items():
        axes.plot(value, row, BOUND_MARKS[bound], color=SOFT_INK, markersize=6, markerfacecolor="none")
