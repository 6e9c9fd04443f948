"""The run's numbers as TensorBoard scalars, from the same events as the log file."""

from pathlib import Path
from typing import TYPE_CHECKING

from mambrane.core.events import Event
from mambrane.storage.atomic_files import storage_errors

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

STEP_SCALARS = {
    "loss": "train/loss_nats_per_token",
    "bits_per_byte": "train/bits_per_byte",
    "gradient_norm": "train/gradient_norm",
    "learning_rate": "train/learning_rate",
    "scale": "train/loss_scale",
    "tokens_per_s": "speed/tokens_per_s",
    "task": "train/task",
}
GROUPS_OF_NUMBERS = ("terms", "penalties", "numbers")


class TensorBoardListener:
    """Writes scalars under a folder: the numbers of each applied step, evaluations by domain.

    After a resume, TensorBoard is told to drop the steps that an interrupted run had written beyond its checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writer: SummaryWriter | None = None
        self._step = 0

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
        if event["event"] == "resumed":
            self._step = event["step"]
        elif event["event"] == "step" and event["state"] == "COMMITTED":
            self._add_step(event)
        elif event["event"] == "evaluation":
            self._write(f"heldout_{event['measure']}/{event['domain']}", event[event["measure"]])

    def _add_step(self, event: Event) -> None:
        self._open()
        self._step = event["step"]
        for field, tag in STEP_SCALARS.items():
            if event.get(field) is not None:
                self._write(tag, event[field])
        for group in GROUPS_OF_NUMBERS:
            for name, number in event.get(group, {}).items():
                self._write(name if "/" in name else f"{group}/{name}", number)

    def _write(self, tag: str, number: float | int | str) -> None:
        self._open().add_scalar(tag, float(number), self._step)

    def _open(self) -> "SummaryWriter":
        """Return the writer, opened at the first number: importing it takes seconds that --help should not."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.folder), purge_step=self._step + 1)
        return self._writer
