"""A study's table in the forms that others read: Markdown, CSV, LaTeX and JSON. Each number leads to its runs."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mambrane.core.text_tables import csv_text, latex_row, markdown_rows
from mambrane.studies.results import NOT_FINISHED, ArmResult, RunResult, StudyTable
from mambrane.studies.statistics import CONFIDENCE, FEWEST_FOR_TRUST, Difference, Estimate
from mambrane.studies.study import HIGHER_IS_BETTER
from mambrane.watch.formatting import duration, size
from mambrane.watch.table import TITLES

_AVERAGES = frozenset({"final_average", "average_incremental", "learned_average"})


def columns(table: StudyTable) -> list[str]:
    """Return the headings: arm, the metric and its difference, the other metrics, cost, runs."""
    first, *others = table.shown_metrics() or [table.study.metric]
    corrected = "p" + " (Holm)" * (table.num_comparisons > 1)
    return [
        "arm",
        heading(first, table),
        f"difference to {table.study.baseline}",
        corrected,
        *(heading(metric, table) for metric in others),
        "time",
        "memory",
    ]


def heading(metric: str, table: StudyTable) -> str:
    """Return a metric's name and which way is better."""
    higher = metric in HIGHER_IS_BETTER or (metric in _AVERAGES and not table.measure.is_lower_better)
    return f"{short_heading(metric)} ({'higher' if higher else 'lower'} is better)"


def short_heading(metric: str) -> str:
    """Return a metric's name alone."""
    return TITLES[metric].split(" (")[0].split(",")[0]


def arm_row(table: StudyTable, arm: ArmResult) -> list[str]:
    """Return the cells of an arm under `columns`, as text."""
    first, *others = table.shown_metrics() or [table.study.metric]
    return [
        arm.name,
        estimate_text(arm.estimates[first]),
        difference_text(arm.difference),
        p_text(arm.corrected_p),
        *(estimate_text(arm.estimates[metric]) for metric in others),
        "-" if arm.seconds is None else duration(arm.seconds),
        "-" if arm.memory_bytes is None else size(arm.memory_bytes),
    ]


def estimate_text(found: Estimate | None) -> str:
    """Return a mean with its interval: 3.193 [3.101, 3.280]."""
    return "-" if found is None else f"{found.mean:.3f}" + _interval_text(found.low, found.high)


def difference_text(found: Difference | None) -> str:
    """Return a difference with its sign and interval."""
    return "-" if found is None else f"{found.mean:+.3f}" + _interval_text(found.low, found.high, sign="+")


def p_text(p_value: float | None) -> str:
    """Return a p-value; what is below a thousandth as such."""
    if p_value is None:
        return "-"
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def notes(table: StudyTable) -> list[str]:
    """Return what a reader must know of the numbers, a sentence each."""
    study, joint = table.study, table.study.joint_arm
    seeds, orders = len(study.seed_list), study.num_orders
    num_finished = sum(run.is_finished for run in table.runs)
    sentences = []
    if num_finished < len(table.runs):
        sentences.append(f"{len(table.runs) - num_finished} of {len(table.runs)} runs are not finished.")
    if table.text_differs:
        sentences.append("Runs were trained on different text: they must not be compared.")
    by_order = f", each its mean over {orders} orders of the tasks" if orders > 1 else ""
    unit = f"Averages, forgetting and transfer in {table.measure.title}."
    sentences.append(f"Means over {seeds} seed{'s' * (seeds > 1)}{by_order}. {unit}")
    if seeds > 1:
        sentences.append(
            f"In brackets: {CONFIDENCE:.0%} bootstrap intervals of the mean (BCa). Differences are paired by seed; p is"
            " that of the paired t-test" + _correction_text(table.num_comparisons)
        )
    if 1 < seeds < FEWEST_FOR_TRUST:
        sentences.append(f"With {seeds} seeds an interval is too narrow: take {FEWEST_FOR_TRUST} or more for a claim.")
    if seeds == 1:
        sentences.append("One seed: no intervals, no tests; a difference may be chance.")
    if joint is not None:
        sentences.append(
            f"Gap closed: 0 at {study.naive_arm}, 1 at {joint}, by final average. Intransigence: against {joint}."
        )
    threads = f"{table.threads} thread{'s' * (table.threads > 1)}"
    sentences.append(f"Time: a whole run with {threads}, beside others. Memory: the most that a run's process took.")
    return sentences


def _correction_text(num_comparisons: int) -> str:
    if num_comparisons < 2:
        return "."
    return (
        f", corrected by Holm for the {num_comparisons} comparisons of this column; the other columns are not tested, "
        "and their intervals are not corrected."
    )


def markdown(table: StudyTable, folder: Path) -> str:
    """Return the table, the notes, and each run with a link to its folder."""
    study, first = table.study, (table.shown_metrics() or [table.study.metric])[0]
    rows = [[f"[{cell}]({quote(_folder_of(arm))})" for cell in arm_row(table, arm)] for arm in table.arms]
    lines = [f"# {study.title or study.name}", "", *markdown_rows(columns(table), rows)]
    lines += ["", *(f"- {sentence}" for sentence in notes(table)), "", f"## The runs: {heading(first, table)}", ""]
    places = list(dict.fromkeys((run.cell.seed, run.cell.order) for run in table.runs))
    head = ["arm", *(f"seed {seed}, order {order}" for seed, order in places)]
    rows = []
    for arm in table.arms:
        by_place = {(run.cell.seed, run.cell.order): run for run in arm.runs}
        rows.append([arm.name, *(_link(by_place[place], first, folder) for place in places)])
    return "\n".join([*lines, *markdown_rows(head, rows)]) + "\n"


def _folder_of(arm: ArmResult) -> str:
    return f"runs/{arm.name}"


def _link(run: RunResult, metric: str, folder: Path) -> str:
    found = run.metrics.get(metric)
    if not run.is_finished:
        words = NOT_FINISHED
    # A run without a text of reference has no drift at all, not even a reason why there is none.
    elif found is None or found.value is None:
        words = "undefined"
    else:
        words = f"{found.value:.3f}"
    return f"[{words}]({quote(run.cell.folder.relative_to(folder).as_posix())})"


def arms_csv(table: StudyTable) -> str:
    """Return a row an arm and metric: mean, interval, seeds; difference and p-values where it is tested; its runs."""
    head = ["arm", "metric", "mean", "low", "high", "seeds", "difference", "difference_low", "difference_high", "pairs"]
    rows: list[list[Any]] = []
    for arm in table.arms:
        for metric, found in arm.estimates.items():
            if found is not None:
                tested = arm.difference if metric == table.study.metric else None
                p = arm.corrected_p if metric == table.study.metric else None
                difference = [None] * 5 if tested is None else list(tested)
                rows.append([arm.name, metric, *found, *difference, p, _folder_of(arm)])
    return csv_text([*head, "p", "p_holm", "runs"], rows)


def runs_csv(table: StudyTable, folder: Path) -> str:
    """Return a row a run: where it is, every metric, its cost; what a run does not have is left empty."""
    metrics = table.shown_metrics()
    rows: list[list[Any]] = [
        [
            *(run.cell.arm, run.cell.seed, run.cell.order, run.cell.folder.relative_to(folder).as_posix()),
            *(run.metrics[metric].value if metric in run.metrics else None for metric in metrics),
            *(run.seconds, run.memory_bytes),
        ]
        for run in table.runs
    ]
    return csv_text(["arm", "seed", "order", "run", *metrics, "seconds", "memory_bytes"], rows)


def latex(table: StudyTable, folder: Path) -> str:
    r"""Return a tabular for booktabs; the runs behind a row stand in a comment above it."""
    head = columns(table)
    lines = [
        f"% {table.study.name}; \\usepackage{{booktabs}}",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        latex_row(head),
        r"\midrule",
    ]
    for arm in table.arms:
        lines += [f"% {run.cell.folder.relative_to(folder).as_posix()}" for run in arm.runs]
        lines.append(latex_row(arm_row(table, arm)).replace("< ", "$<$ "))
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {sentence}" for sentence in notes(table))]
    return "\n".join(lines) + "\n"


def as_json(table: StudyTable, folder: Path) -> str:
    """Return everything: the study, the arms with their statistics, the runs with every metric and its reason."""
    study = table.study
    content = {
        "name": study.name,
        "title": study.title,
        "metric": study.metric,
        "baseline": study.baseline,
        "naive": study.naive_arm,
        "joint": study.joint_arm,
        "seeds": study.seed_list,
        "orders": study.num_orders,
        "threads": table.threads,
        "unit": table.measure.title,
        "settings": dict(study.settings),
        "notes": notes(table),
        "arms": [
            {
                "name": arm.name,
                "settings": dict(study.arms[arm.name]),
                "metrics": {name: None if found is None else found._asdict() for name, found in arm.estimates.items()},
                "difference": None if arm.difference is None else arm.difference._asdict(),
                "p_holm": arm.corrected_p,
                "seconds": arm.seconds,
                "memory_bytes": arm.memory_bytes,
            }
            for arm in table.arms
        ],
        "runs": [
            {
                "arm": run.cell.arm,
                "seed": run.cell.seed,
                "order": run.cell.order,
                "run": run.cell.folder.relative_to(folder).as_posix(),
                "is_finished": run.is_finished,
                "metrics": {name: metric._asdict() for name, metric in run.metrics.items()},
                "seconds": run.seconds,
                "memory_bytes": run.memory_bytes,
            }
            for run in table.runs
        ],
    }
    return json.dumps(content, indent=1) + "\n"


def _interval_text(low: float | None, high: float | None, sign: str = "") -> str:
    return "" if low is None or high is None else f" [{low:{sign}.3f}, {high:{sign}.3f}]"
