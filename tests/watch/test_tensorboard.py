"""TensorBoard: scalars, texts, settings, histograms."""

import pytest
import tensorboard.summary.writer.event_file_writer as event_files
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mambrane.storage.atomic_files import StorageError
from mambrane.watch.tensorboard import TensorBoardListener
from tests.watch.logged import tell


def step_event(step, **fields):
    event = {"event": "step", "state": "COMMITTED", "step": step, "loss": 4.0 - step / 10, "learning_rate": 1e-3}
    return {**event, **fields}


def write(folder, events):
    listener = TensorBoardListener(folder)
    for event in events:
        listener(event)
    listener.close()


def scalars(folder, tag):
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {scalar.step: scalar.value for scalar in accumulator.Scalars(tag)}


def test_each_applied_step_is_a_point_at_its_step(tmp_path):
    skipped = step_event(2, state="SKIPPED", loss="nan")
    write(tmp_path, [step_event(1), step_event(2), skipped, step_event(3, gradient_norm=None)])
    assert scalars(tmp_path, "train/loss_nats_per_token") == pytest.approx({1: 3.9, 2: 3.8, 3: 3.7})


def test_numbers_of_extensions_keep_their_names(tmp_path):
    write(tmp_path, [step_event(1, numbers={"stdp/mean_change": 0.25}, terms={"rate_band": 0.5})])
    assert scalars(tmp_path, "stdp/mean_change") == {1: 0.25}
    assert scalars(tmp_path, "terms/rate_band") == {1: 0.5}


def test_after_a_resume_the_lost_steps_are_dropped(tmp_path, monkeypatch):
    # TensorBoard reads files by name: second, host, process, count. Within a second a tenth file comes before a ninth.
    monkeypatch.setattr(event_files, "_global_uid", event_files.AtomicCounter(0))
    write(tmp_path, [step_event(step) for step in range(1, 6)])
    write(tmp_path, [{"event": "resumed", "step": 3}, step_event(4, loss=1.0)])
    values = scalars(tmp_path, "train/loss_nats_per_token")
    assert sorted(values) == [1, 2, 3, 4]
    assert values[4] == 1.0


def test_after_a_task_was_taken_back_its_steps_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setattr(event_files, "_global_uid", event_files.AtomicCounter(0))
    gone_back = {"event": "task_taken_back", "task": 1, "step": 3}
    write(tmp_path, [*(step_event(step) for step in range(1, 6)), gone_back, step_event(4, loss=1.0)])
    values = scalars(tmp_path, "train/loss_nats_per_token")
    assert sorted(values) == [1, 2, 3, 4]
    assert values[4] == 1.0


def test_an_evaluation_is_a_point_at_the_last_applied_step(tmp_path):
    evaluation = {"event": "evaluation", "row": 1, "domain": "prose", "measure": "bits_per_byte", "bits_per_byte": 2.5}
    write(tmp_path, [step_event(7), evaluation])
    assert scalars(tmp_path, "heldout_bits_per_byte/prose") == {7: 2.5}


def test_a_run_without_numbers_writes_nothing(tmp_path):
    write(tmp_path, [{"event": "run_started"}])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="tensorboard"):
        write(tmp_path / "file" / "tensorboard", [step_event(1)])


def test_samples_settings_and_histograms_stand_beside_the_numbers(tmp_path):
    tell(TensorBoardListener(tmp_path))
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    tags = accumulator.Tags()
    (text,) = accumulator.Tensors("sample/my <prose>/text_summary")
    assert text.tensor_proto.string_val == [b"    once <b>[...] upon\n    a time"]
    (histogram,) = accumulator.Histograms("weights/blocks.0.plastic.weight")
    assert histogram.histogram_value.bucket_limit == [-0.5, 0.0, 0.5, 1.0]
    assert histogram.histogram_value.bucket == [1, 2, 3, 4]
    assert "_hparams_/session_start_info" in str(accumulator.summary_metadata.keys())
    assert "train/loss_nats_per_token" in tags["scalars"]
    assert [path.is_file() for path in tmp_path.iterdir()] == [True]
