"""Where a run keeps itself: nowhere unless told."""

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.continual.matrix_file import load_matrix
from mambrane.continual.progress import Progress
from mambrane.continual.run_storage import NOT_KEPT, RunStorage
from mambrane.continual.stream import Stream
from mambrane.continual.task_file import read_tasks
from tests.measured import Accuracy


def test_matrix_and_tasks_are_written_where_the_storage_says_and_not_otherwise(tmp_path):
    matrix = ForgettingMatrix(["birds"], 1)
    matrix.record(0, 0, Accuracy(0.5))
    content = Stream(tasks=(), domains=()), matrix, Progress(attempts=[])
    NOT_KEPT.write_files(*content)
    assert list(tmp_path.iterdir()) == []
    RunStorage(matrix_path=tmp_path / "matrix.json", tasks_path=tmp_path / "tasks.json").write_files(*content)
    assert load_matrix(tmp_path / "matrix.json").values == matrix.values
    assert read_tasks(tmp_path / "tasks.json") == ([], [])
