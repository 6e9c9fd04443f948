"""A run in Weights & Biases: numbers, settings, samples, histograms. WANDB_MODE=offline keeps it on this machine.

Its own variables and settings say where it goes (WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE); a resumed run goes on as the
same run, known by its folder.
"""

import hashlib
import os
from html import escape
from pathlib import Path
from typing import Any

from mambrane.core.events import Event
from mambrane.watch.numbers import LoggedNumbers, edges_of


class WandbListener:
    """Writes to a run of Weights & Biases, opened at the first event that has something for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._numbers = LoggedNumbers()
        self._config: Event = {}
        self._run: Any = None

    def __call__(self, event: Event) -> None:
        """Write what one event says; raises what the package raises."""
        import wandb

        kind = event["event"]
        logged: dict[str, Any] = dict(self._numbers(event))
        if kind == "run_started":
            self._config = event.get("config", {})
        elif kind == "sample":
            text = f"<pre><i>{escape(event['prompt'])}</i>{escape(event['continuation'])}</pre>"
            logged[f"sample/{event['domain']}"] = wandb.Html(text, inject=False)
        elif kind == "weights_measured":
            for name, histogram in event["weights"].items():
                counts = (histogram["counts"], edges_of(histogram))
                logged[f"weights/{name}"] = wandb.Histogram(np_histogram=counts)
        if logged:
            self._open().log({"step": self._numbers.step, **logged})

    def close(self) -> None:
        """Finish the run of Weights & Biases."""
        run, self._run = self._run, None
        if run is not None:
            run.finish()

    def _open(self) -> Any:  # noqa: ANN401 -- a package without types of its own here
        if self._run is None:
            import wandb

            place = str(self.folder.resolve())
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "mambrane"),
                name=self.folder.resolve().name,
                id=hashlib.sha256(place.encode()).hexdigest()[:16],
                resume="allow",
                dir=place,
                config=self._config,
                # The screen belongs to the console of the run.
                settings=wandb.Settings(console="off", quiet=True),
            )
            # A run that goes on from its checkpoint takes some steps again: its own axis allows that.
            self._run.define_metric("*", step_metric="step")
        return self._run
