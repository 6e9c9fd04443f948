"""One checkpoint as files: what is written is what is read, and a copy follows no later change."""

import pytest
import torch

from mambrane.storage.checkpoint_files import prepare, read_folder, write_folder
from mambrane.storage.manifest import CheckpointDamaged, read_manifest


def test_parts_and_weights_come_back_from_the_files_that_were_written(tmp_path):
    state = {"count": 3, "moment": torch.arange(4.0)}
    prepared = prepare(7, {"trainer": state, "runner": {"row": 1}}, weights={"model": {"w": torch.ones(2, 3)}})
    assert sorted(prepared.files) == ["model.safetensors", "runner.json", "trainer.json", "trainer.safetensors"]
    write_folder(tmp_path / "one", prepared)
    found = read_folder(tmp_path / "one", read_manifest(tmp_path / "one"))
    assert found.step == 7
    assert found.parts["runner"] == {"row": 1}
    assert torch.equal(found.parts["trainer"]["moment"], state["moment"])
    assert torch.equal(found.weights["model"]["w"], torch.ones(2, 3))
    sizes = [path.stat().st_size for path in (tmp_path / "one").iterdir() if path.name != "manifest.json"]
    assert prepared.num_bytes == sum(sizes)


@pytest.mark.parametrize("copy", [True, False])
def test_only_a_copy_is_independent_of_what_training_does_next(tmp_path, copy):
    weight = torch.zeros(2)
    prepared = prepare(1, {}, weights={"model": {"w": weight}}, copy=copy)
    weight += 1
    write_folder(tmp_path / "one", prepared)
    found = read_folder(tmp_path / "one", read_manifest(tmp_path / "one")).weights["model"]["w"]
    assert found.tolist() == ([0.0, 0.0] if copy else [1.0, 1.0])


def test_bytes_that_are_no_state_are_damage_and_are_not_executed(tmp_path):
    write_folder(tmp_path / "one", prepare(1, {"trainer": {"a": 1}}, weights={}))
    manifest = read_manifest(tmp_path / "one")
    (tmp_path / "one" / "trainer.json").write_bytes(b"\x80\x04]")
    with pytest.raises(CheckpointDamaged, match="cannot be read"):
        read_folder(tmp_path / "one", manifest)
