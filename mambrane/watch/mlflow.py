"""A run in MLflow: numbers, settings, samples. MLFLOW_TRACKING_URI says where; without it, what MLflow has set itself.

The experiment is "mambrane" (MLFLOW_EXPERIMENT_NAME says another). A resumed run goes on as the same run, known by its
folder, which stands in the tag mambrane.folder.
"""

import math
import os
import re
from pathlib import Path
from typing import Any

from mambrane.core.events import Event
from mambrane.watch.numbers import LoggedNumbers, flat_settings

LONGEST_VALUE = 500
"""Of a setting in MLflow, in characters; what is longer is cut."""


class MlflowListener:
    """Writes to a run of MLflow, opened at the first number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = LoggedNumbers()
        self._settings: dict[str, Any] = {}
        self._client: Any = None
        self._run_id = ""

    def __call__(self, event: Event) -> None:
        """Write what one event says; raises what the package raises."""
        numbers = self._numbers(event)
        if event["event"] == "run_started":
            self._settings = flat_settings(event.get("config", {}))
        if numbers:
            from mlflow.entities import Metric

            time_ms = round(1000 * event.get("time_s", 0.0))
            step = self._numbers.step
            points = [Metric(_name(name), value, time_ms, step) for name, value in numbers.items() if is_number(value)]
            self._open().log_batch(self._run_id, metrics=points)
        elif event["event"] == "sample":
            file = f"samples/step-{self._numbers.step:08d}/{_name(event['domain']).replace('/', ' ')}.txt"
            self._open().log_text(self._run_id, event["prompt"] + event["continuation"], file)

    def close(self) -> None:
        """Say that the run is over for now."""
        client, self._client = self._client, None
        if client is not None:
            client.set_terminated(self._run_id)

    def _open(self) -> Any:  # noqa: ANN401 -- a package without types of its own here
        if self._client is None:
            from mlflow import MlflowClient
            from mlflow.entities import Param

            client, place = MlflowClient(), str(self.folder.resolve())
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "mambrane")
            experiment = client.get_experiment_by_name(name)
            experiment_id = client.create_experiment(name) if experiment is None else experiment.experiment_id
            known = [
                run
                for run in client.search_runs([experiment_id], filter_string="tags.`mambrane.folder` != ''")
                if run.data.tags["mambrane.folder"] == place
            ]
            if known:
                self._run_id = known[0].info.run_id
                client.update_run(self._run_id, status="RUNNING")
            else:
                made = client.create_run(experiment_id, run_name=self.folder.resolve().name)
                self._run_id = made.info.run_id
                client.set_tag(self._run_id, "mambrane.folder", place)
                params = [Param(key, str(value)[:LONGEST_VALUE]) for key, value in self._settings.items()]
                client.log_batch(self._run_id, params=params)
            self._client = client
        return self._client


def is_number(value: float) -> bool:
    """Return whether MLflow can keep a value: databases refuse nan and infinities."""
    return math.isfinite(value)


def _name(name: str) -> str:
    """Return a name that MLflow takes: letters, digits and a few signs."""
    return re.sub(r"[^\w\-. :/]", "_", name)
