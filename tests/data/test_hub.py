"""Hub names; what needs the package `datasets` reads a local folder through it, as it would read the hub."""

import sys

import pytest

from mambrane.core.errors import UserError
from mambrane.data.hub import hub_source, read_hub_rows, split_hub_name
from tests.data.texts import write_files


def test_a_hub_name_may_hold_configuration_and_revision():
    assert split_hub_name("hf:owner/set") == ("owner/set", None, None)
    assert split_hub_name("hf:owner/set:en@v1.0") == ("owner/set", "en", "v1.0")


def test_an_empty_hub_name_is_a_clear_error():
    with pytest.raises(UserError, match="hf:NAME"):
        hub_source("hf:")


def test_without_the_package_the_way_to_install_it_is_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    (file,) = hub_source("hf:owner/set").files
    with pytest.raises(UserError, match=r"datasets(.|\n)*mambrane\[hub\]"):
        list(file.read(file.path, 0))


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_rows_are_streamed_up_to_the_limit(tmp_path):
    pytest.importorskip("datasets")
    write_files(tmp_path, {"train.jsonl": '{"text": "row one"}\n{"text": "row two"}\n'})
    (file,) = hub_source(f"hf:{tmp_path}").files
    assert list(read_hub_rows(file.path, 0)) == [b"row one", b"row two"]
    assert list(read_hub_rows(file.path, 10)) == [b"row one", b"row"]


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_data_set_that_cannot_be_loaded_is_a_clear_error(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(UserError, match="cannot be loaded"):
        list(read_hub_rows(tmp_path / "nowhere", 0))
