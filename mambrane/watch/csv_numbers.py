"""The numbers of a run as a CSV file, a line each: step, name, value. Spreadsheets and pandas pivot it to a table."""

import csv
from pathlib import Path
from typing import TextIO

from mambrane.core.events import Event
from mambrane.storage.atomic_files import atomic_write_text, storage_errors
from mambrane.watch.numbers import LoggedNumbers

HEADER = ("step", "name", "value")


class CsvListener:
    """Appends to a file; after a resume, lines of steps beyond the checkpoint are removed first."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._numbers = LoggedNumbers()
        self._opened: TextIO | None = None

    def __call__(self, event: Event) -> None:
        """Write the numbers of one event; raises StorageError."""
        numbers = self._numbers(event)
        if event["event"] in ("resumed", "task_taken_back"):
            self._drop_steps_after(event["step"])
        if not numbers:
            return
        with storage_errors("writing", self.file):
            if self._opened is None:
                self._opened = self.file.open("a", encoding="utf-8", newline="")
            rows = csv.writer(self._opened, lineterminator="\n")
            if self._opened.tell() == 0:
                rows.writerow(HEADER)
            rows.writerows([self._numbers.step, name, number] for name, number in numbers.items())
            self._opened.flush()

    def close(self) -> None:
        """Close the file; raises StorageError."""
        opened, self._opened = self._opened, None
        if opened is not None:
            with storage_errors("writing", self.file):
                opened.close()

    def _drop_steps_after(self, step: int) -> None:
        self.close()
        if not self.file.exists():
            return
        with storage_errors("reading", self.file):
            # A kill may have torn the last line.
            whole = self.file.read_text(encoding="utf-8").rpartition("\n")[0]
        kept = [line for line in whole.split("\n") if not _is_later(line, step)]
        atomic_write_text(self.file, "".join(f"{line}\n" for line in kept))


def _is_later(line: str, step: int) -> bool:
    number = line.partition(",")[0]
    return number.isdecimal() and int(number) > step
