"""The manifest says what a checkpoint consists of, and every difference from that is found."""

import hashlib

import pytest

from mambrane.storage.atomic_files import FileRecord
from mambrane.storage.manifest import (
    MANIFEST_NAME,
    CheckpointDamaged,
    CheckpointVersionError,
    Manifest,
    check_folder,
    read_manifest,
    seal,
)

CONTENT = b'{"a": 1}'


@pytest.fixture
def folder(tmp_path):
    record = FileRecord(len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    (tmp_path / "trainer.json").write_bytes(CONTENT)
    (tmp_path / MANIFEST_NAME).write_bytes(Manifest(step=40, files={"trainer.json": record}).to_bytes())
    return tmp_path


def test_it_comes_back_as_it_was_written_and_fits_its_folder(folder):
    manifest = read_manifest(folder)
    assert manifest.step == 40
    assert manifest.files["trainer.json"].num_bytes == len(CONTENT)
    check_folder(folder, manifest, contents=True)


def test_equal_manifests_are_equal_bytes_whatever_the_order_of_the_files():
    one, two = FileRecord(1, "a"), FileRecord(2, "b")
    assert (
        Manifest(step=1, files={"a.json": one, "b.json": two}).to_bytes()
        == Manifest(step=1, files={"b.json": two, "a.json": one}).to_bytes()
    )


def test_a_changed_byte_of_equal_length_shows_only_where_contents_are_read(folder):
    (folder / "trainer.json").write_bytes(CONTENT.replace(b"1", b"2"))
    check_folder(folder, read_manifest(folder), contents=False)
    with pytest.raises(CheckpointDamaged, match="SHA-256"):
        check_folder(folder, read_manifest(folder), contents=True)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "trainer.json").unlink(), "No such file"),
        (lambda folder: (folder / "trainer.json").write_bytes(b""), "0 bytes"),
        (lambda folder: (folder / "more.json").write_bytes(b""), "not listed in the manifest"),
        (
            lambda folder: (
                (folder / "trainer.json").rename(folder / "more.json"),
                (folder / "trainer.json").symlink_to(folder / "more.json"),
            ),
            "not listed in the manifest",
        ),
    ],
)
def test_a_folder_that_differs_is_damaged_and_says_how(folder, damage, reason):
    manifest = read_manifest(folder)
    damage(folder)
    with pytest.raises(CheckpointDamaged, match=reason):
        check_folder(folder, manifest, contents=False)


@pytest.mark.parametrize("name", [".DS_Store", "desktop.ini", "Desktop.ini", "Thumbs.db"])
def test_what_file_managers_and_sync_programs_leave_beside_the_files_is_no_damage(folder, name):
    (folder / name).write_bytes(b"[.ShellClassInfo]")
    check_folder(folder, read_manifest(folder), contents=True)


def test_a_file_of_a_kind_that_can_carry_code_is_never_read(folder):
    manifest = Manifest(step=1, files={"weights.pt": FileRecord(1, "")})
    with pytest.raises(CheckpointDamaged, match="never read"):
        check_folder(folder, manifest, contents=False)


def test_another_version_is_no_damage(folder):
    body = {"format": "mambrane-checkpoint", "format_version": 2, "step": 1, "files": {}}
    (folder / MANIFEST_NAME).write_bytes(seal(body))
    with pytest.raises(CheckpointVersionError, match="version 2"):
        read_manifest(folder)
