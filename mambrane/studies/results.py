"""From the folders of a study's runs to a table: what each arm reached, how far it lies from the baseline, its cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mambrane.continual.forgetting_metrics import Metric, gap_closed
from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.matrix_file import load_matrix
from mambrane.continual.measure import BITS_PER_BYTE, Measure
from mambrane.core.errors import UserError
from mambrane.data.domain_records import read_domain_records
from mambrane.settings.config import OPERATIONAL, RunConfig, to_dict
from mambrane.settings.saved_config import read_configuration
from mambrane.storage.run_folder import RunFolder, config_differences
from mambrane.studies.cost import saved_peak_memory, seconds_of
from mambrane.studies.statistics import Difference, Estimate, estimate, holm, paired_by_seed
from mambrane.studies.study import METRICS, Cell, Study

NOT_FINISHED = "not finished"


class RunResult(NamedTuple):
    """What one run came to."""

    cell: Cell
    metrics: dict[str, Metric]
    """By name; empty for a run that is not finished."""
    seconds: float | None
    memory_bytes: int | None

    @property
    def is_finished(self) -> bool:
        """Whether every cell of its matrix's last row is measured."""
        return bool(self.metrics)


class ArmResult(NamedTuple):
    """What the runs of an arm came to together."""

    name: str
    runs: tuple[RunResult, ...]
    estimates: dict[str, Estimate | None]
    """Of each metric; None where no seed has it."""
    difference: Difference | None
    """Of the study's metric from the baseline's; None for the baseline itself, or without pairs."""
    corrected_p: float | None
    """The p-value of the difference, corrected for the number of arms that are compared."""
    seconds: float | None
    """Mean over the runs."""
    memory_bytes: int | None
    """The most that any run took."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyTable:
    """The outcome of a study."""

    study: Study
    arms: tuple[ArmResult, ...]
    measure: Measure
    threads: int
    """Threads of each run."""
    text_differs: bool
    """Whether runs were trained on different text, so that they must not be compared."""

    @property
    def runs(self) -> list[RunResult]:
        """Every run, arm by arm."""
        return [run for arm in self.arms for run in arm.runs]

    @property
    def num_comparisons(self) -> int:
        """How many differences are tested, and corrected for."""
        return sum(arm.corrected_p is not None for arm in self.arms)

    def shown_metrics(self) -> list[str]:
        """Return the metrics that any arm has, the study's own first."""
        there = [name for name in METRICS if any(arm.estimates[name] for arm in self.arms)]
        return sorted(there, key=lambda name: name != self.study.metric)


def read_table(
    study: Study, cells: Sequence[Cell], *, threads: int, known_seconds: dict[Path, float | None] | None = None
) -> StudyTable:
    """Return what the runs that are finished say.

    Args:
        study: what the runs are of.
        cells: all of them.
        threads: of each run.
        known_seconds: how long finished runs took, by folder, from an earlier call; what it lacks is added. Their logs
            are long and change no more, so a study that goes on reads each once.

    Raises:
        UserError: a run's matrix is damaged, or a folder holds a run of another configuration.
    """
    matrices = {_key(cell): matrix for cell in cells if (matrix := finished_matrix(cell)) is not None}
    known_seconds = {} if known_seconds is None else known_seconds
    for cell in cells:
        if _key(cell) in matrices and cell.folder not in known_seconds:
            known_seconds[cell.folder] = seconds_of(cell.folder)
    runs = {_key(cell): _read_run(study, cell, matrices, known_seconds) for cell in cells}
    by_arm = {arm: tuple(run for run in runs.values() if run.cell.arm == arm) for arm in study.arms}
    values = {arm: _seed_values(of_arm, study.metric, study.num_orders) for arm, of_arm in by_arm.items()}
    differences = {
        arm: None if arm == study.baseline else paired_by_seed(of_arm, values[study.baseline])
        for arm, of_arm in values.items()
    }
    corrected = holm([None if each is None else each.p_value for each in differences.values()])
    measures = [matrix.measure for matrix in matrices.values()]
    return StudyTable(
        study=study,
        arms=tuple(
            _arm(arm, by_arm[arm], differences[arm], p, study.num_orders)
            for arm, p in zip(study.arms, corrected, strict=True)
        ),
        measure=measures[0] if measures else BITS_PER_BYTE,
        threads=threads,
        text_differs=len({_text_of(cell) for cell in cells if _key(cell) in matrices}) > 1,
    )


def finished_matrix(cell: Cell) -> ForgettingMatrix | None:
    """Return the matrix of a run that is finished, or None.

    Raises:
        UserError: the file is damaged, or the folder holds a run of another configuration.
    """
    folder = RunFolder(cell.folder)
    if not folder.matrix_file.exists() or not folder.config_file.exists():
        return None
    _refuse_another(folder, cell.config)
    matrix = load_matrix(folder.matrix_file)
    return None if matrix.missing(matrix.num_tasks) else matrix


def _refuse_another(folder: RunFolder, config: RunConfig) -> None:
    saved = to_dict(read_configuration(folder))
    # The run writes every setting of an extension down; the study may have left some to their defaults.
    differences = config_differences(saved, to_dict(config), operational=(*OPERATIONAL, "run.extension"))
    if differences:
        raise UserError(
            "\n  ".join([f"{folder.path} holds a run of another configuration:", *differences]),
            wanted="the configuration that the study has now",
            way_out="another --output-dir for the study as it is now, or another name for the arm",
        )


def _read_run(
    study: Study,
    cell: Cell,
    matrices: Mapping[tuple[str, int, int], ForgettingMatrix],
    seconds: Mapping[Path, float | None],
) -> RunResult:
    matrix = matrices.get(_key(cell))
    if matrix is None:
        return RunResult(cell, {}, None, None)
    joint_arm = study.joint_arm
    naive, joint = (
        None if arm is None else matrices.get((arm, cell.seed, cell.order)) for arm in (study.naive_arm, joint_arm)
    )
    joint_row = None if joint is None else [value for value in joint.values[-1] if value is not None]
    metrics = matrix.metrics(joint=joint_row)
    metrics.setdefault("intransigence", Metric(None, "the study has no arm that learns all tasks at once"))
    metrics["gap_closed"] = _gap_closed(matrix, naive, joint)
    return RunResult(cell, metrics, seconds[cell.folder], saved_peak_memory(cell.folder))


def _gap_closed(matrix: ForgettingMatrix, naive: ForgettingMatrix | None, joint: ForgettingMatrix | None) -> Metric:
    if naive is None or joint is None:
        return Metric(None, "the runs between which the gap lies, naive and joint, are not there")
    averages = [each.metrics()["final_average"] for each in (naive, matrix, joint)]
    values = [average.value for average in averages if average.value is not None]
    if len(values) < len(averages):
        return next(average for average in averages if average.value is None)
    return gap_closed(values[0], values[1], values[2], matrix.measure)


def _arm(
    name: str, runs: tuple[RunResult, ...], difference: Difference | None, corrected_p: float | None, num_orders: int
) -> ArmResult:
    values = {metric: list(_seed_values(runs, metric, num_orders).values()) for metric in METRICS}
    seconds = [run.seconds for run in runs if run.seconds is not None]
    memory = [run.memory_bytes for run in runs if run.memory_bytes is not None]
    return ArmResult(
        name=name,
        runs=runs,
        estimates={metric: estimate(found) if found else None for metric, found in values.items()},
        difference=difference,
        corrected_p=corrected_p,
        seconds=sum(seconds) / len(seconds) if seconds else None,
        memory_bytes=max(memory) if memory else None,
    )


def _seed_values(runs: Sequence[RunResult], metric: str, num_orders: int) -> dict[int, float]:
    """Return the mean over the orders for each seed of which every order has the metric."""
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        value = run.metrics[metric].value if metric in run.metrics else None
        if value is not None:
            by_seed.setdefault(run.cell.seed, []).append(value)
    return {seed: sum(values) / num_orders for seed, values in by_seed.items() if len(values) == num_orders}


def _key(cell: Cell) -> tuple[str, int, int]:
    return cell.arm, cell.seed, cell.order


def _text_of(cell: Cell) -> Any:  # noqa: ANN401 -- compared and nothing else
    records = read_domain_records(RunFolder(cell.folder).domains_file).records
    return frozenset((record["name"], record["content_hash"]) for record in records)
