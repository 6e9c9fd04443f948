"""A run in TensorBoard: numbers, the texts that it wrote, settings, and how its weights are distributed."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mambrane.core.events import Event
from mambrane.storage.atomic_files import storage_errors
from mambrane.watch.formatting import visible
from mambrane.watch.numbers import LoggedNumbers, edges_of, flat_settings

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardListener:
    """Writes under a folder: numbers as scalars, samples as text, settings as hparams, weights as histograms.

    After a resume, and where a task is taken back, TensorBoard is told to drop the steps that no longer count.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None
        self._numbers = LoggedNumbers()
        self._settings: dict[str, str | int | float | bool] = {}
        """Those of the run that are not written yet."""

    def __call__(self, event: Event) -> None:
        """Write what one event says.

        Raises:
            StorageError: the disk refused this event or, because a thread of TensorBoard's own writes, an earlier one.
        """
        with storage_errors("writing", self.folder):
            self._take(event)

    def close(self) -> None:
        """Write out everything and close the file; raises StorageError."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with storage_errors("writing", self.folder):
                writer.close()

    def _take(self, event: Event) -> None:
        kind, numbers = event["event"], self._numbers(event)
        if self._numbers.went_back_to is not None:
            # Only a file that is opened can say from which step on those before it are dropped.
            self.close()
        for name, number in numbers.items():
            self._open().add_scalar(name, number, self._numbers.step)
        if kind == "run_started":
            self._settings = flat_settings(event.get("config", {}))
        elif kind == "sample":
            given, written = (visible(event[part], keep="\n") for part in ("prompt", "continuation"))
            # Indented text is shown as it is, whatever Markdown would make of it.
            text = "\n".join(f"    {line}" for line in f"{given}[...]{written}".split("\n"))
            self._open().add_text(f"sample/{event['domain']}", text, self._numbers.step)
        elif kind == "weights_measured":
            for name, histogram in event["weights"].items():
                self._add_histogram(f"weights/{name}", histogram, event["step"])

    def _add_histogram(self, name: str, histogram: Event, step: int) -> None:
        counts, edges = np.array(histogram["counts"]), np.array(edges_of(histogram))
        middles = (edges[1:] + edges[:-1]) / 2
        self._open().add_histogram_raw(
            name,
            min=histogram["low"],
            max=histogram["high"],
            num=int(counts.sum()),
            sum=float(counts @ middles),
            sum_squares=float(counts @ middles**2),
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=step,
        )

    def _open(self) -> "SummaryWriter":
        """Return the writer, opened at the first number: importing it takes seconds that --help should not."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter
            from torch.utils.tensorboard.summary import hparams

            self._writer = SummaryWriter(str(self.folder), purge_step=self._numbers.step + 1)
            # SummaryWriter.add_hparams would put them into a folder, and a run, of their own.
            for summary in hparams(self._settings, {"continual/final_average": 0.0, "continual/forgetting": 0.0}):
                self._writer._get_file_writer().add_summary(summary)
        return self._writer
