"""The report's sections on what was learned and kept, and the facts at its head and its end."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.report import page
from mambrane.report.data import ReportData
from mambrane.report.figures_forgetting import Kept, kept_domains, kept_picture, most_forgotten
from mambrane.report.figures_learning import forgetting_picture, heldout_by_task, loss_series, training_picture
from mambrane.report.heat import Heat, heat_figure
from mambrane.watch import formatting
from mambrane.watch.history import RunHistory
from mambrane.watch.table import metric_title

SMALLEST_RANGE = 0.6
"""The lightest colour of the heat map stands for at most this part of the darkest, so that equal looks equal."""


def head(data: ReportData) -> str:
    """Return the title, how the run ended, and its key figures."""
    history, matrix = data.history, data.matrix
    facts = []
    if "parameters" in history.run_start:
        facts.append(("parameters", formatting.count(history.run_start["parameters"]), ""))
    facts.append(("optimizer steps", formatting.count(history.last_step), ""))
    if history.total("tokens"):
        facts.append(("tokens read", formatting.count(history.total("tokens")), ""))
        facts.append(("running time", formatting.duration(history.seconds), ""))
    metrics = matrix.metrics() if matrix is not None else {}
    for name, title in (("final_average", "final average, all domains"), ("forgetting", "forgetting")):
        value = metrics[name].value if name in metrics else None
        if matrix is not None and value is not None:
            facts.append((title, f"{value:.3f}", matrix.measure.unit))
    if (mean_speed := _mean_speed(history)) is not None:
        facts.append(("speed, mean", formatting.count(mean_speed), "tokens/s"))
    rate = history.series("activity/firing_rate")
    if rate is not None:
        facts.append(("firing rate at the end", formatting.percent(rate.values[-20:].mean()), ""))
    lead = page.paragraph(_how_it_ended(history), "lead")
    model = page.paragraph(_of_which_model(data), "note")
    damages = "\n".join(page.paragraph(f"Damaged: {sentence}.") for sentence in data.damages)
    return f"<h1>{page.escape(data.title)}</h1>\n{lead}\n{damages}\n{page.tiles(facts)}\n{model}".rstrip()


def _mean_speed(history: RunHistory) -> float | None:
    """Return the tokens over the time of all steps that say both; None where none does."""
    speed, tokens = history.series("tokens_per_s"), history.series("tokens")
    if speed is None or tokens is None:
        return None
    _, of_speed, of_tokens = np.intersect1d(speed.steps, tokens.steps, return_indices=True)
    seconds = float((tokens.values[of_tokens] / speed.values[of_speed]).sum())
    return float(tokens.values[of_tokens].sum()) / seconds if seconds else None


def _of_which_model(data: ReportData) -> str:
    if data.weights:
        return f"Neurons, gates and texts below are those of the {data.weights}."
    return "The model was not run for this page; `mambrane report` shows its neurons, gates, texts and energy too."


def _how_it_ended(history: RunHistory) -> str:
    tasks = history.tasks()
    names = ", ".join(task.name for task in tasks)
    learned = f"Trained on {names}" + (", one after another. " if len(tasks) > 1 else ". ") if tasks else ""
    if history.end is None:
        ended = "The run has not ended: it is going on, or it was cut off and can be resumed."
    elif history.end["event"] == "run_finished":
        ended = "The run finished."
    else:
        ended = f"The run was stopped ({history.end['reason']}) and can be resumed."
    resumed = f" It was resumed {history.num_resumes} times." if history.num_resumes > 1 else ""
    return learned + ended + (" It was resumed once." if history.num_resumes == 1 else resumed)


def training(data: ReportData) -> str:
    """Return the section on loss, learning rate and gradient."""
    history = data.history
    if not history.steps:
        return page.section("training", "Training", page.paragraph("No step has been applied yet."))
    caption = (
        f"Line: mean training loss; band: lowest and highest of the steps behind each point. The last step's loss is "
        f"{loss_series(history).values[-1]:.3f}. The learning rate rises anew for each task."
    )
    if heldout_by_task(history, data.matrix):
        caption += (
            " Ring: loss on the held-out text of the task that ends there, in the same unit; a ring far above the "
            "line says that the text was memorised."
        )
    replayed = history.series("replay/fraction")
    if replayed is not None and replayed.values.any():
        mean = formatting.percent(replayed.values[replayed.values > 0].mean())
        caption += (
            f" Batches hold replayed text of earlier tasks ({mean} where there is any), so the line is the loss on a "
            "mixture and the ring is not."
        )
    if history.skipped_steps:
        number = len(history.skipped_steps)
        caption += f" Red marks: {number} step{'s' * (number > 1)} skipped because the gradient was not finite."
    return page.section("training", "Training", page.figure(training_picture(history, data.matrix), caption))


def memory(data: ReportData) -> str:
    """Return the section on the forgetting matrix."""
    matrix, title = data.matrix, "What was kept"
    if matrix is None or not any(_measured(row) for row in matrix.values):
        return page.section("matrix", title, page.paragraph("No domain has been evaluated yet."))
    pieces = [_heat(matrix)]
    if matrix.num_tasks > 1 and any(_measured(row) for row in matrix.values[1:]):
        turn = "rises" if matrix.measure.is_lower_better else "falls"
        caption = (
            "The same numbers as curves. A ring marks where a domain was learned; dashed before, plain after. A plain "
            f"curve that {turn} is a domain that is being forgotten. Names stand with the last value."
        )
        pieces.append(page.figure(forgetting_picture(matrix), caption))
    if kept := kept_domains(matrix, data.bounds):
        pieces.append(page.figure(kept_picture(matrix, kept), _kept_caption(matrix, kept)))
    pieces += [_attempt(attempt, matrix.measure.unit) for attempt in data.attempts]
    return page.section("matrix", title, *pieces, _metrics(matrix))


def _kept_caption(matrix: ForgettingMatrix, kept: list[Kept]) -> str:
    worse = "right" if matrix.measure.is_lower_better else "left"
    caption = f"{most_forgotten(matrix, kept)} A dot to the {worse} of its ring has been forgotten by that much."
    if any(each.bounds for each in kept):
        caption += (
            " The marks are the ends of the study's runs of the same seed and order without protection (cross) and on "
            "all domains at once (diamond)."
        )
    return caption


def _attempt(attempt: dict[str, Any], unit: str) -> str:
    """Return what a task that was taken back would have changed."""
    rows = []
    for domain, after in attempt["after"].items():
        before = attempt["before"].get(domain)
        change = "-" if before is None or after is None else f"{after - before:+.3f}"
        rows.append((domain, *("-" if number is None else f"{number:.3f}" for number in (before, after)), change))
    words = page.paragraph(f"Learned and taken back: {attempt['name']}. {attempt['reason'].capitalize()}.")
    return words + page.table(["domain", f"before, {unit}", "after", "change"], rows)


def _measured(row: Sequence[float | None]) -> list[float]:
    return [number for number in row if number is not None]


def _heat(matrix: ForgettingMatrix) -> str:
    """Return the matrix as a heat map; rows that are not measured yet are left out."""
    tasks = range(matrix.num_tasks)
    own = [(task + 1, columns[0]) for task, columns in enumerate(matrix.task_columns) if len(columns) == 1]
    names = ["untrained", *(f"{task + 1} {matrix.task_name(task)}" if own else "all" for task in tasks)]
    rows = [(name, row) for name, row in zip(names, matrix.values, strict=True) if _measured(row)]
    known = [number for _, row in rows for number in _measured(row)]
    heat = Heat(
        ["after task", *matrix.domains],
        rows,
        own=own,
        logarithmic=True,
        limits=(min(min(known), SMALLEST_RANGE * max(known)), max(known)),
    )
    lower = matrix.measure.is_lower_better
    caption = (
        f"Held-out {matrix.measure.title}: a row for each task learned, a column for each domain; darker is "
        f"{'worse' if lower else 'better'}, by ratio. Framed: a domain right after its own task; below it, a "
        f"{'rise' if lower else 'fall'} is forgetting."
    )
    return heat_figure("matrix", heat, caption)


def _metrics(matrix: ForgettingMatrix) -> str:
    metrics = matrix.metrics()
    if all(metric.value is None for metric in metrics.values()):
        return page.paragraph(f"Metrics over tasks are undefined so far: {metrics['final_average'].reason}.")
    rows = [
        (
            metric_title(name, matrix.measure),
            f"undefined: {metric.reason}" if metric.value is None else f"{metric.value:.3f}",
        )
        for name, metric in metrics.items()
    ]
    return page.table(["metric", "value"], rows, kind="words")


def log(data: ReportData) -> str:
    """Return the section on events that no other section shows; empty if there are none."""
    counts = Counter(event["event"] for event in data.history.other_events)
    if not counts:
        return ""
    latest = {event["event"]: event for event in data.history.other_events}
    rows = []
    for kind, number in sorted(counts.items()):
        fields = {key: item for key, item in latest[kind].items() if key not in ("time_s", "event")}
        rows.append((kind.replace("_", " "), str(number), formatting.value(fields)[1:-1]))
    words = "Everything else in the event log, by kind, with the latest of each."
    return page.section(
        "log", "From the log", page.paragraph(words), page.table(["event", "number", "latest"], rows, kind="words")
    )


def configuration(data: ReportData) -> str:
    """Return every setting, and the versions it ran with."""
    sections = [
        (name, [(key.replace("_", " "), formatting.value(item)) for key, item in settings.items()])
        for name, settings in data.config.items()
    ]
    environment = data.history.run_start.get("environment", {})
    if environment:
        sections.append(("versions and machine", [(key, formatting.value(item)) for key, item in environment.items()]))
    return page.section("configuration", "Configuration and versions", page.settings(sections))
