"""Weights & Biases, offline: what it keeps on the disk."""

import pytest

from mambrane.watch.wandb import WandbListener
from tests.watch.logged import tell

wandb = pytest.importorskip("wandb", reason="pip install 'mambrane[wandb]'")


def test_offline_the_run_lies_below_its_folder_and_goes_on_as_the_same_one(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for _ in range(2):
        tell(WandbListener(tmp_path))
    files = list((tmp_path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len({file.name for file in files}) == 1
    kept = b"".join(file.read_bytes() for file in files)
    for words in (b"train/loss_nats_per_token", b"learning_rate", b"blocks.0.plastic.weight"):
        assert words in kept
    page = next((tmp_path / "wandb").rglob("*.html")).read_text()
    assert "once &lt;b&gt;" in page


def test_a_run_without_numbers_opens_nothing(tmp_path):
    tell(WandbListener(tmp_path), [{"event": "run_started", "config": {}}])
    assert list(tmp_path.iterdir()) == []
