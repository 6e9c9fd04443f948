"""What is known of each task: its text, settings and steps, and what it cost and gained; the content of tasks.json."""

from collections.abc import Sequence
from typing import Any

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.stream import Stream, Task
from mambrane.continual.terms import Verdict, cost_of_task


def task_records(
    stream: Stream, matrix: ForgettingMatrix, num_learned: int, steps_taken: Sequence[int]
) -> list[dict[str, Any]]:
    """Return what is known of each task of a stream, of which the first `num_learned` are learned and measured."""
    records = []
    for task in stream.tasks:
        is_learned = task.index < num_learned
        record = {**_text_record(stream, task), "is_learned": is_learned}
        if is_learned:
            forgetting, gain = cost_of_task(matrix, task.index)
            steps = steps_taken[task.index] if task.index < len(steps_taken) else None
            record |= {"steps": steps, "forgetting": forgetting, "gain": gain}
        records.append(record)
    return records


def attempt_record(
    stream: Stream, matrix: ForgettingMatrix, verdict: Verdict, index: int, steps: int
) -> dict[str, Any]:
    """Return what is known of a task that is taken back: the verdict, and each domain before and after it."""
    rows = {"before": matrix.values[index], "after": matrix.values[index + 1]}
    return {
        **_text_record(stream, stream.tasks[index]),
        "after_tasks": index,
        "steps": steps,
        **verdict._asdict(),
        **{name: dict(zip(matrix.domains, row, strict=True)) for name, row in rows.items()},
    }


def _text_record(stream: Stream, task: Task) -> dict[str, Any]:
    return {**task.record, "content_hashes": [stream.domains[column].content_hash for column in task.columns]}
