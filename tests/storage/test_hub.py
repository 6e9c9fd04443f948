"""Names of the hub: what they mean, what is fetched, and what is said where that fails."""

import sys

import pytest

from mambrane.core.errors import UserError
from mambrane.storage.hub import fetch_folder, is_hub_name, publish_folder
from tests.storage.fake_hub import COMMIT, fake_hub

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("hf:a/b", True), ("state-spaces/mamba-130m", True), ("./a/b", False), ("/a/b", False), ("runs", False)],
)
def test_a_name_means_the_hub_where_it_can_be_no_folder(name, expected):
    assert is_hub_name(name) is expected


def test_a_folder_that_is_there_is_a_folder(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not is_hub_name("a/b")


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["model.safetensors", "pytorch_model.bin", "config.json"], "*.safetensors"),
        (["pytorch_model.bin", "config.json"], "pytorch_model*.bin"),
    ],
)
def test_only_the_best_kind_of_weights_is_fetched(monkeypatch, tmp_path, files, kind):
    asked = {}

    class Hub:
        def list_repo_files(self, name, *, revision):
            return files

    def download(name, *, revision, allow_patterns):
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch_folder("hf:owner/model@v2") == tmp_path
    assert (asked["name"], asked["revision"]) == ("owner/model", "v2")
    assert asked["patterns"] == ["*.json", "*.txt", "*.model", kind]


def test_what_the_hub_refuses_is_said_with_the_way_out(monkeypatch, tmp_path):
    def refuse(*arguments, **options):
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", refuse)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UserError, match=r"hf:a/b: cannot be fetched \(ConnectionError: no network\)"):
        fetch_folder("hf:a/b")
    with pytest.raises(UserError, match="hf auth login"):
        publish_folder(tmp_path, "a/b")


def test_the_extra_is_named_where_the_library_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"mambrane\[hub\]"):
        fetch_folder("hf:a/b")


def test_a_repository_is_fetched_with_revision_and_token_and_found_again_without_a_connection(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    files = {
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "pytorch_model.bin": b"the same",
        "flax.msgpack": b"",
    }
    with fake_hub({"owner/model": files}, monkeypatch, tmp_path) as requests:
        folder = fetch_folder("hf:owner/model@v2")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            "config.json": b"{}",
            "model.safetensors": b"weights",
        }
        assert folder.is_relative_to(tmp_path)
        assert folder.name == COMMIT
        assert any("/v2" in path for path, _ in requests)
        assert {token for path, token in requests if "owner/model" in path} == {"Bearer hf_secret"}
        with pytest.raises(UserError, match="hf:owner/other: cannot be fetched"):
            fetch_folder("hf:owner/other")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fetch_folder("hf:owner/model@v2") == folder
