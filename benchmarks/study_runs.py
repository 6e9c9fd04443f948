"""Print the table of a study from the results of its runs that are kept here, without training anything.

    python -m benchmarks.study_runs five-domains [--against replay]

`benchmarks/results/studies/NAME.csv` holds what `mambrane study NAME` writes as runs.csv: a row for each run. The table
is that of the study, except that an arm may have fewer seeds than another: means are over the seeds whose orders an arm
has all, and a difference is over the seeds that both arms have.

    python -m benchmarks.study_runs five-domains --add FOLDER

takes the finished runs of a study's folder in; what is there already must be the same to the last digit.

    python -m benchmarks.study_runs memory-share --pictures FOLDER

draws the pictures of a ready study from them, as SVG and PDF.

Whether a larger number is better, a ready study of that name says by its task. Of another study the numbers are bits
per byte, or, with `--accuracy`, parts of 1.
"""

import argparse
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mambrane.continual.forgetting_metrics import gap_closed
from mambrane.continual.measure import BITS_PER_BYTE, Measure
from mambrane.settings.config import RunOptions
from mambrane.storage.atomic_files import atomic_write_text
from mambrane.studies.files import READY_FOLDER, read_study
from mambrane.studies.pages import difference_text, estimate_text, p_text, short_heading
from mambrane.studies.pictures import write_pictures
from mambrane.studies.results import ArmResult, StudyTable
from mambrane.studies.statistics import estimate, holm, paired_by_seed
from mambrane.studies.study import METRICS as STUDY_METRICS
from mambrane.studies.study import Study
from mambrane.tasks import task_kind
from mambrane.tasks.vision import ACCURACY

FOLDER = Path(__file__).parent / "results" / "studies"
METRIC = "final_average"
KEPT = (METRIC, "learned_average", "forgetting", "lost_gain_fraction", "reference_drift")
AGAINST_BOUNDS = ("intransigence", "gap_closed")
"""Computed from the runs "naive" and "joint" of the same seed and order, so that an arm can be added without them."""
METRICS = (*KEPT, *AGAINST_BOUNDS)
COLUMNS = ("arm", "seed", "order", *KEPT, "seconds", "memory_bytes")
Row = Mapping[str, str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Take runs in, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of a file in benchmarks/results/studies")
    parser.add_argument("--against", help="the arm that others are compared with; left out: the first")
    parser.add_argument("--add", type=Path, metavar="FOLDER", help="folder of a study, whose runs.csv is taken in")
    parser.add_argument(
        "--accuracy", action="store_true", help="the runs measure accuracy; for a study that is no ready one"
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="folder to draw the ready study's pictures into"
    )
    options = parser.parse_args(arguments)
    path, ready = FOLDER / f"{options.study}.csv", READY_FOLDER / f"{options.study}.toml"
    if not path.is_file() and not options.add:
        known = ", ".join(sorted(kept.stem for kept in FOLDER.glob("*.csv")))
        parser.error(f"no runs of a study {options.study!r} are kept; there are {known}")
    if options.add and not (options.add / "runs.csv").is_file():
        parser.error(f"--add {options.add}: no runs.csv lies there, which mambrane study writes into a study's folder")
    if options.accuracy and ready.is_file():
        parser.error(f"--accuracy: the ready study {options.study} says itself what its runs measure")
    if options.pictures and not ready.is_file():
        parser.error(f"--pictures: {options.study} is no ready study, whose file would say what to draw")
    measure = measure_of(ready) if ready.is_file() else ACCURACY if options.accuracy else BITS_PER_BYTE
    rows = read_rows(path) if path.is_file() else []
    if options.add:
        rows = joined(rows, read_rows(options.add / "runs.csv"))
        write_rows(path, rows)
    if not rows:
        parser.error(f"{path} holds no finished run")
    print(table(rows, options.against or rows[0]["arm"], measure))
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        for drawn in write_pictures(for_pictures(rows, read_study(ready), measure), options.pictures):
            print(drawn)


def measure_of(study: Path) -> Measure:
    """Return what the runs of a study's file measure, as its task says."""
    return task_kind(read_study(study).settings.get("task", RunOptions().task)).measure


def read_rows(path: Path) -> list[Row]:
    """Return the finished runs of a file."""
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: row.get(name) or "" for name in COLUMNS} for row in csv.DictReader(file) if row["seconds"]]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write runs in the order given, in one step: a kill leaves those that were kept before."""
    content = io.StringIO(newline="")
    writer = csv.DictWriter(content, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write_text(path, content.getvalue())


def joined(kept: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Return kept and new runs, arm by arm as they first came.

    Raises:
        SystemExit: a run is there twice, with another result.
    """
    by_key = {_key(row): row for row in kept}
    for row in new:
        there = by_key.setdefault(_key(row), row)
        for metric in (METRIC, "learned_average"):
            if there[metric] != row[metric]:
                found = f"{' '.join(_key(row))}: {row[metric]} now, {there[metric]} is kept"
                raise SystemExit(f"{found}; other code or text")
    arms = list(dict.fromkeys(row["arm"] for row in by_key.values()))
    return sorted(by_key.values(), key=lambda row: (arms.index(row["arm"]), int(row["seed"]), int(row["order"])))


def table(rows: Sequence[Row], against: str, measure: Measure) -> str:
    """Return the table as Markdown; `measure` is that of the numbers in the rows."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    if against not in arms:
        raise SystemExit(f"no runs of {against!r}: there are {', '.join(arms)}")
    values = values_of(rows, arms, measure)
    differences = {
        arm: None if arm == against else paired_by_seed(values[arm][METRIC], values[against][METRIC]) for arm in arms
    }
    corrected = holm([found and found.p_value for found in differences.values()])
    others = [metric for metric in METRICS[1:] if any(values[arm][metric] for arm in arms)]
    titles = (short_heading(metric) for metric in others)
    lines = [
        f"| arm | seeds | final average | to {against} | p | {' | '.join(titles)} |",
        f"|{'---|' * (5 + len(others))}",
    ]
    for arm, p_value in zip(arms, corrected, strict=True):
        means = [list(values[arm][metric].values()) for metric in (METRIC, *others)]
        final, *more = (estimate_text(estimate(found) if found else None) for found in means)
        cells = [arm, str(len(means[0])), final, difference_text(differences[arm]), p_text(p_value), *more]
        lines.append(f"| {' | '.join(cells)} |")
    tested = sum(p_value is not None for p_value in corrected)
    lines += ["", f"{len(rows)} runs. p: paired t-test over seeds, corrected by Holm for {tested} comparisons."]
    return "\n".join(lines)


def for_pictures(rows: Sequence[Row], study: Study, measure: Measure) -> StudyTable:
    """Return the part of a study's table that its pictures show: the means of the arms that have runs."""
    arms = []
    for arm, values in values_of(rows, study.arms, measure).items():
        means = {metric: list(by_seed.values()) for metric, by_seed in values.items()}
        estimates = {name: estimate(each) if (each := means.get(name)) else None for name in STUDY_METRICS}
        arms.append(ArmResult(arm, (), estimates, None, None, None, None))
    return StudyTable(study=study, arms=tuple(arms), measure=measure, threads=1, text_differs=False)


def values_of(rows: Sequence[Row], arms: Iterable[str], measure: Measure) -> dict[str, dict[str, dict[str, float]]]:
    """Return the values of each arm by metric and seed, those that follow from the bounds too."""
    orders, runs = {row["order"] for row in rows}, {_key(row): row for row in rows}
    rows = [dict(row) | against_bounds(row, runs, measure) for row in rows]
    return {arm: {metric: seed_values(rows, arm, metric, orders) for metric in METRICS} for arm in arms}


def against_bounds(row: Row, runs: Mapping[tuple[str, str, str], Row], measure: Measure) -> Row:
    """Return how much less a run learned than joint, and its part of the way from naive to joint; "" without them."""
    found = dict.fromkeys(AGAINST_BOUNDS, "")
    bounds = [runs.get((arm, row["seed"], row["order"])) for arm in ("naive", "joint")]
    if not all(bounds):
        return found
    naive, joint = (float(bound[METRIC]) for bound in bounds if bound)
    if row[METRIC]:
        closed = gap_closed(naive, float(row[METRIC]), joint, measure).value
        found["gap_closed"] = "" if closed is None else str(closed)
    if row["learned_average"]:
        found["intransigence"] = str(measure.sign * (float(row["learned_average"]) - joint))
    return found


def seed_values(rows: Iterable[Row], arm: str, metric: str, orders: set[str]) -> dict[str, float]:
    """Return the mean over all orders, for each seed of which the arm has them all."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["arm"] == arm and row[metric]:
            found.setdefault(row["seed"], {})[row["order"]] = float(row[metric])
    return {seed: sum(each.values()) / len(orders) for seed, each in found.items() if each.keys() == orders}


def _key(row: Row) -> tuple[str, str, str]:
    return row["arm"], row["seed"], row["order"]


if __name__ == "__main__":
    main()
