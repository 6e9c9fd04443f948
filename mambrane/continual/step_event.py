"""What the event log says about a closed step: the engine's result with its place in the run and its speed."""

from collections.abc import Callable
from typing import Any

from mambrane.continual.measure import Measure, Measurement
from mambrane.continual.stream import Task
from mambrane.engine.step_result import StepResult


def step_event(
    result: StepResult,
    task: Task,
    training_numbers: Callable[[float, Task], dict[str, float]],
    *,
    step: int,
    epoch: int,
    seconds: float,
) -> dict[str, Any]:
    """Return the fields of a "step" event; `training_numbers` says what else the loss in nats per target means."""
    return {
        "state": result.state.name,
        "step": step,
        "task": task.index,
        "epoch": epoch,
        "loss": result.loss,
        **({} if result.loss is None else training_numbers(result.loss, task)),
        "tokens": result.num_targets,
        "tokens_per_s": result.num_targets / seconds,
        "gradient_norm": result.gradient_norm,
        "learning_rate": result.learning_rate,
        "scale": result.scale,
        "terms": result.terms,
        "penalties": result.penalties,
        "numbers": result.numbers,
    }


def evaluation_event(measure: Measure, measured: Measurement, row: int, domain: str) -> dict[str, Any]:
    """Return the fields of an "evaluation" event: the value by the name of its measure, and its details."""
    numbers = {measure.name: measured.value, **measured.details}
    return {"row": row, "domain": domain, "measure": measure.name, "unit": measure.unit, **numbers}
