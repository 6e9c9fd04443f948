"""A run's folder as a run would have left it, without running one."""

import json
import math

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.core.events import EventLog
from tests.measured import Loss

DOMAINS = ("python", "<prose> & $more$")
NUMBERS = {
    "activity/firing_rate": 0.1,
    "activity/first_rate_0": 0.1,
    "activity/second_rate_0": 0.1,
    "activity/gate_0": 0.2,
    "stdp/mean_change": 1e-4,
    "meta_plasticity/mean_plasticity": 0.9,
    "replay/fraction": 0.5,
}


def write_run(folder, *, numbers):
    """Write the folder of a run of two tasks with four steps each, resumed once."""
    (folder / "config.json").write_text(json.dumps({"model": {"hidden_dim": 16}, "run": {"seed": 0, "dry_run": False}}))
    events = EventLog(folder / "events.jsonl")
    events.emit("run_started", num_tasks=2, parameters=1234, environment={"torch": "2.13.0", "python": "3.11.7"})
    events.emit("kernel_chosen", op="lif", backend="numba")
    matrix = ForgettingMatrix(DOMAINS, 2)
    for task, name in enumerate(DOMAINS):
        events.emit("task_started", task=task, name=name, epochs=1, steps=4)
        for step in range(4 * task + 1, 4 * task + 5):
            fields = {
                "loss": 4.0 / step,
                "bits_per_byte": 4.0 / step / math.log(2),
                "tokens": 64,
                "tokens_per_s": 640.0,
            }
            optimizer = {"learning_rate": 1e-3, "gradient_norm": 1.0, "scale": 1.0}
            events.emit(
                "step", state="COMMITTED", step=step, task=task, epoch=0, **fields, **optimizer, numbers=numbers
            )
    events.emit("run_finished", step=8)
    events.close()
    for row, losses in enumerate([(8.0, 8.0), (3.0, 6.0), (4.0, 2.0)]):
        for column, bits in enumerate(losses):
            matrix.record(row, column, Loss(bits, 2.0**bits))
    matrix.save(folder / "matrix.json")
