"""MLflow, in files of this machine."""

import pytest

from mambrane.watch.mlflow import MlflowListener
from tests.watch.logged import tell
from tests.watch.shown import step_event

mlflow = pytest.importorskip("mlflow", reason="pip install 'mambrane[mlflow]'")


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    return mlflow.MlflowClient()


@pytest.mark.filterwarnings("ignore")
def test_numbers_settings_and_samples_are_kept_and_a_resumed_run_is_the_same_one(tmp_path, client):
    tell(MlflowListener(tmp_path / "run"))
    again = [{"event": "resumed", "step": 1}, step_event(2, loss=2.0), step_event(3, loss=float("nan"))]
    tell(MlflowListener(tmp_path / "run"), again)
    (run,) = client.search_runs([client.get_experiment_by_name("mambrane").experiment_id])
    assert run.data.params["engine.learning_rate"] == "0.002"
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "train/loss_nats_per_token")
    assert {point.step: point.value for point in history} == {1: 3.0, 2: 2.0}
    assert run.data.metrics["heldout_bits_per_byte/my _prose_"] == 2.5
    (folder,) = client.list_artifacts(run.info.run_id, "samples")
    (file,) = client.list_artifacts(run.info.run_id, folder.path)
    local = tmp_path / "mlruns" / run.info.experiment_id / run.info.run_id / "artifacts" / file.path
    assert local.read_text() == "once <b> upon\na time"
