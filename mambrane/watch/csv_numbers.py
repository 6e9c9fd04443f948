"""The numbers of a run as a CSV file, a line each: step, name, value. Spreadsheets and pandas pivot it to a table."""

import csv
import io
from collections.abc import Collection
from pathlib import Path
from typing import TextIO

from mambrane.core.events import Event
from mambrane.storage.atomic_files import atomic_write_text, storage_errors
from mambrane.watch.numbers import LoggedNumbers

HEADER = ("step", "name", "value")


class CsvListener:
    """Appends to a file in which each number of a step stands once, as the run says it last.

    After a resume, lines of steps beyond the checkpoint are removed first; where a run begins anew, all of them.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._numbers = LoggedNumbers()
        self._opened: TextIO | None = None
        self._step = 0
        self._names: set[str] = set()
        """What stands in the file of that step."""

    def __call__(self, event: Event) -> None:
        """Write the numbers of one event; raises StorageError."""
        numbers = self._numbers(event)
        step, went_back_to = self._numbers.step, self._numbers.went_back_to
        if step != self._step:
            self._step, self._names = step, set()
        if went_back_to is not None:
            self._rewrite(up_to=went_back_to)
        if not numbers:
            return
        if not self._names.isdisjoint(numbers):
            # The matrix is told again after a resume, and a row whose measuring was cut off is measured again.
            self._rewrite(up_to=step, without=numbers)
        with storage_errors("writing", self.file):
            if self._opened is None:
                self._opened = self.file.open("a", encoding="utf-8", newline="")
            rows = csv.writer(self._opened, lineterminator="\n")
            if self._opened.tell() == 0:
                rows.writerow(HEADER)
            rows.writerows([step, name, number] for name, number in numbers.items())
            self._opened.flush()
        self._names.update(numbers)

    def close(self) -> None:
        """Close the file; raises StorageError."""
        opened, self._opened = self._opened, None
        if opened is not None:
            with storage_errors("writing", self.file):
                opened.close()

    def _rewrite(self, *, up_to: int, without: Collection[str] = ()) -> None:
        """Leave out the steps behind one, and what is known anew of the present one."""
        self.close()
        if not self.file.exists():
            return
        with storage_errors("reading", self.file):
            # A kill may have torn the last line.
            whole = self.file.read_text(encoding="utf-8").rpartition("\n")[0]
        found = [row for row in csv.reader(io.StringIO(whole)) if len(row) == len(HEADER) and row[0].isdecimal()]
        # Of two lines for one number, as earlier versions wrote them, the later one counts.
        kept = {(int(step), name): value for step, name, value in found if int(step) <= up_to}
        kept = {key: value for key, value in kept.items() if key[0] != self._step or key[1] not in without}
        self._names = {name for step, name in kept if step == self._step}
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([HEADER, *((*key, value) for key, value in kept.items())])
        atomic_write_text(self.file, text.getvalue())
