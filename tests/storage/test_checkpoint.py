"""What is saved is what is loaded; a damaged checkpoint is never used; nothing in a file ever runs."""

import hashlib
import json
import os
import pickle
import zipfile

import pytest
import torch

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.storage.checkpoint import Checkpoints, NoValidCheckpoint
from mambrane.storage.checkpoint_files import prepare
from mambrane.storage.manifest import CheckpointDamaged, CheckpointVersionError, seal

FILES = ["ema.safetensors", "model.safetensors", "trainer.json", "trainer.safetensors"]


class Recorder(EventLog):
    """An event log that keeps what it was told."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.listeners.append(self.seen.append)

    def kinds(self):
        return [event["event"] for event in self.seen]


def state_of(step):
    """A small state that differs at each step."""
    return {"applied": step, "moments": [torch.full((4,), float(step)), torch.ones(2, dtype=torch.bfloat16)]}


def weights_of(step):
    weight = torch.full((3, 2), float(step))
    return {"model": {"embed": weight, "head": weight}, "ema": {"embed": weight / 2}}


def save(checkpoints, step):
    return checkpoints.save(step, {"trainer": state_of(step)}, weights=weights_of(step))


def assert_holds(checkpoint, step):
    assert checkpoint.step == checkpoint.parts["trainer"]["applied"] == step
    assert torch.equal(checkpoint.parts["trainer"]["moments"][0], torch.full((4,), float(step)))
    assert torch.equal(checkpoint.weights["model"]["head"], torch.full((3, 2), float(step)))
    assert torch.equal(checkpoint.weights["ema"]["embed"], torch.full((3, 2), step / 2))


@pytest.fixture
def events():
    return Recorder()


@pytest.fixture
def checkpoints(tmp_path, events):
    return Checkpoints(tmp_path / "run" / "checkpoints", keep=2, events=events)


def names(checkpoints):
    return sorted(os.listdir(checkpoints.folder))


def reseal(folder, **changes):
    """Change fields of a manifest and make its own hash fit: what an attacker or another version would write."""
    body = json.loads((folder / "manifest.json").read_bytes())
    del body["sha256"]
    (folder / "manifest.json").write_bytes(seal(body | changes))


def list_file(folder, name, content):
    """Put a file into a checkpoint and into its manifest, with the right size and hash."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / "manifest.json").read_bytes())["files"]
    files[name] = {"num_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    reseal(folder, files=files)


def test_what_is_saved_is_what_is_loaded(checkpoints, events):
    assert checkpoints.load_newest() is None
    path = save(checkpoints, 40)
    assert path.name == "step-00000040"
    assert sorted(os.listdir(path)) == [*FILES[:1], "manifest.json", *FILES[1:]]
    loaded = checkpoints.load_newest()
    assert_holds(loaded, 40)
    assert loaded.path == path
    assert events.kinds() == ["checkpoint_saved", "checkpoint_loaded"]


def test_loaded_tensors_outlive_their_files(checkpoints):
    path = save(checkpoints, 3)
    loaded = checkpoints.load(path)
    for file in path.iterdir():
        file.write_bytes(b"")
    assert_holds(loaded, 3)


def test_equal_states_give_equal_folders(tmp_path, events):
    twins = [Checkpoints(tmp_path / name, keep=2, events=events) for name in "ab"]
    paths = [save(twin, 7) for twin in twins]
    for name in [*FILES, "manifest.json"]:
        assert (paths[0] / name).read_bytes() == (paths[1] / name).read_bytes()


def test_the_newest_ones_are_kept(checkpoints, events):
    for step in range(1, 8):
        save(checkpoints, step)
    assert names(checkpoints) == ["step-00000006", "step-00000007"]
    assert events.kinds().count("checkpoint_removed") == 5


def test_fewer_than_two_checkpoints_cannot_be_asked_for(tmp_path, events):
    with pytest.raises(UserError, match="at least 2"):
        Checkpoints(tmp_path, keep=1, events=events)


def test_damaged_checkpoints_do_not_count_among_those_kept(checkpoints, events):
    for step in (1, 2):
        save(checkpoints, step)
    (checkpoints.folder / "step-00000002" / "ema.safetensors").write_bytes(b"")
    for step in (3, 4):
        save(checkpoints, step)
        assert len([n for n in names(checkpoints) if n != "step-00000002"]) == 2
    assert names(checkpoints) == ["step-00000003", "step-00000004"]


def test_a_later_process_reads_old_checkpoints_before_it_relies_on_them(checkpoints, events):
    for step in (1, 2):
        save(checkpoints, step)
    flip_byte(checkpoints.folder / "step-00000002" / "model.safetensors")
    later = Checkpoints(checkpoints.folder, keep=2, events=events)
    save(later, 3)
    assert names(checkpoints) == ["step-00000001", "step-00000002", "step-00000003"]


def test_saving_a_step_again_replaces_it(checkpoints):
    save(checkpoints, 1)
    save(checkpoints, 2)
    checkpoints.save(2, {"trainer": state_of(99)}, weights=weights_of(2))
    assert checkpoints.load_newest().parts["trainer"]["applied"] == 99
    assert names(checkpoints) == ["step-00000001", "step-00000002"]


def test_leftovers_of_killed_saves_are_cleaned(checkpoints):
    save(checkpoints, 1)
    for leftover in ("step-00000002.tmp-123", "step-00000000.removed-77"):
        (checkpoints.folder / leftover).mkdir()
        (checkpoints.folder / leftover / "model.safetensors").write_bytes(b"half")
        (checkpoints.folder / leftover / "inside").mkdir()
        (checkpoints.folder / leftover / "inside" / "link").symlink_to(checkpoints.folder / "step-00000001")
    (checkpoints.folder / "notes.txt").write_text("of the user")
    assert_holds(checkpoints.load_newest(), 1)
    save(checkpoints, 2)
    assert names(checkpoints) == ["notes.txt", "step-00000001", "step-00000002"]


def flip_byte(file, position=None):
    content = bytearray(file.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 0x10
    file.write_bytes(bytes(content))


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1])


def append(file):
    file.write_bytes(file.read_bytes() + b"\0")


def empty(file):
    file.write_bytes(b"")


def link(file):
    elsewhere = file.parents[1] / f"{file.parent.name} {file.name}"
    file.symlink_to(file.rename(elsewhere))


def delete(file):
    file.unlink()


DAMAGES = [flip_byte, truncate, append, empty, link, delete]


@pytest.mark.parametrize(
    ("damage", "file"),
    # A link to a good manifest is a good manifest.
    [
        (damage, file)
        for damage in DAMAGES
        for file in [*FILES, "manifest.json"]
        if (damage, file) != (link, "manifest.json")
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_any_damage_of_any_file_is_seen_and_the_one_before_is_used(checkpoints, events, file, damage):
    for step in (1, 2):
        save(checkpoints, step)
    newest = checkpoints.folder / "step-00000002"
    damage(newest / file)
    with pytest.raises(CheckpointDamaged, match=file):
        checkpoints.load(newest)
    assert_holds(checkpoints.load_newest(), 1)
    event = events.seen[-2]
    assert (event["event"], event["file"], event["path"]) == ("checkpoint_damaged", file, str(newest))
    assert event["expected"] != event["found"]
    damage(checkpoints.folder / "step-00000001" / file)
    with pytest.raises(NoValidCheckpoint, match="no valid checkpoint") as refusal:
        checkpoints.load_newest()
    assert "step-00000001" in refusal.value.found
    assert "step-00000002" in refusal.value.found


def test_a_flip_of_any_byte_of_the_manifest_is_seen(checkpoints):
    path = save(checkpoints, 1)
    whole = (path / "manifest.json").read_bytes()
    for position in range(len(whole)):
        flip_byte(path / "manifest.json", position)
        with pytest.raises(CheckpointDamaged):
            checkpoints.load(path)
        (path / "manifest.json").write_bytes(whole)
    assert_holds(checkpoints.load(path), 1)


def test_a_file_that_the_manifest_does_not_list_is_damage(checkpoints):
    path = save(checkpoints, 1)
    (path / "extra.json").write_text("{}")
    with pytest.raises(CheckpointDamaged, match=r"extra\.json: not listed"):
        checkpoints.load(path)


@pytest.mark.parametrize("name", [".DS_Store", ".nfs000000000001"])
def test_what_a_file_manager_or_a_network_disk_leaves_is_no_damage(checkpoints, name):
    path = save(checkpoints, 1)
    (path / name).write_bytes(b"x")
    assert_holds(checkpoints.load_newest(), 1)


def test_a_pipe_in_place_of_a_file_is_damage_and_is_not_waited_for(checkpoints):
    path = save(checkpoints, 1)
    list_file(path, "pipe.json", b"")
    (path / "pipe.json").unlink()
    os.mkfifo(path / "pipe.json")
    with pytest.raises(CheckpointDamaged, match=r"pipe\.json: something else"):
        checkpoints.load(path)


def test_a_checkpoint_under_the_name_of_another_step_is_refused(checkpoints):
    path = save(checkpoints, 1)
    with pytest.raises(CheckpointDamaged, match="step-00000009"):
        checkpoints.load(path.rename(path.with_name("step-00000009")))


@pytest.mark.parametrize("change", [{"format_version": 2}, {"format_version": "1"}, {"format": "other"}], ids=str)
def test_another_version_is_refused_and_not_taken_for_damage(checkpoints, change):
    save(checkpoints, 1)
    path = save(checkpoints, 2)
    reseal(path, **change)
    with pytest.raises(CheckpointVersionError, match="written in the format"):
        checkpoints.load_newest()
    save(checkpoints, 3)
    assert path.is_dir()


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"files": {"model.safetensors": 1}},
        {"step": None},
        {"files": {"a/b.json": {}}},
    ],
    ids=str,
)
def test_a_manifest_of_nonsense_is_damage_even_when_sealed(checkpoints, change):
    path = save(checkpoints, 1)
    reseal(path, **change)
    with pytest.raises(CheckpointDamaged):
        checkpoints.load(path)


def test_a_manifest_with_a_field_more_is_read(checkpoints):
    reseal(save(checkpoints, 1), metric=None)
    assert_holds(checkpoints.load_newest(), 1)


class Bomb:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def torch_zip(target, path):
    """What torch.save writes, with a bomb inside."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(target)))
        archive.writestr("archive/version", "3\n")
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["pickle", "torch zip"])
@pytest.mark.parametrize("name", ["trainer.json", "trainer.safetensors", "model.safetensors", "plus.pt", "plus.pkl"])
def test_a_pickle_in_a_checkpoint_is_refused_and_nothing_in_it_runs(checkpoints, tmp_path, kind, name):
    save(checkpoints, 1)
    path = save(checkpoints, 2)
    target = tmp_path / "it ran"
    bomb = pickle.dumps(Bomb(target)) if kind == "pickle" else torch_zip(target, tmp_path / "bomb.pt")
    list_file(path, name, bomb)
    with pytest.raises(CheckpointDamaged, match=name):
        checkpoints.load(path)
    assert_holds(checkpoints.load_newest(), 1)
    assert not target.exists()
    (tmp_path / "bomb.pkl").write_bytes(pickle.dumps(Bomb(target)))
    pickle.loads((tmp_path / "bomb.pkl").read_bytes())
    assert target.exists(), "the bomb itself works"


def test_what_is_no_state_is_refused_before_anything_is_written(checkpoints):
    with pytest.raises(TypeError, match="/model"):
        checkpoints.save(1, {"trainer": {"model": torch.nn.Linear(1, 1)}}, weights={})
    assert not checkpoints.folder.exists()


def test_names_that_are_no_file_names_are_our_own_mistake():
    for parts, weights in [({"../x": {}}, {}), ({"manifest": {}}, {}), ({"model": {}}, {"model": {}})]:
        with pytest.raises(AssertionError):
            prepare(1, parts, weights=weights)


def test_a_part_is_read_alone_from_the_newest_checkpoint_that_has_it_whole(checkpoints):
    assert checkpoints.read_part("settings") is None
    for step in (1, 2):
        checkpoints.save(step, {"settings": {"step": step}}, weights=weights_of(step))
    (checkpoints.folder / "step-00000002" / "model.safetensors").unlink()
    assert checkpoints.read_part("settings") == {"step": 2}
    (checkpoints.folder / "step-00000002" / "settings.json").write_bytes(b'{"step":9}')
    assert checkpoints.read_part("settings") == {"step": 1}
    assert checkpoints.read_part("other") is None
