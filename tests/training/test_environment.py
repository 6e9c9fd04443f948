"""A run that goes on in another environment says what changed, or refuses."""

import json

import pytest
import torch

from mambrane.core.device import describe_environment
from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.storage.run_folder import RunFolder
from mambrane.training.environment import CHANGE_BITS, compare_environment

HERE = describe_environment(torch.device("cpu")) | {"num_processes": 1}


def compared(folder, here, *, must_be_same=False):
    heard, log = [], EventLog()
    log.listeners.append(heard.append)
    compare_environment(RunFolder(folder), here, log, must_be_same=must_be_same)
    return [event["message"] for event in heard]


def test_the_same_environment_is_silent(tmp_path):
    assert set(CHANGE_BITS) <= HERE.keys()
    assert compared(tmp_path, HERE, must_be_same=True) == []
    assert compared(tmp_path, HERE, must_be_same=True) == []


@pytest.mark.parametrize("name", CHANGE_BITS)
def test_what_changed_is_named_once_or_refused(tmp_path, name):
    compared(tmp_path, HERE)
    other = {**HERE, name: "other"}
    with pytest.raises(UserError, match=f"{name} .* -> other"):
        compared(tmp_path, other, must_be_same=True)
    (sentence,) = compared(tmp_path, other)
    assert f"{name} {HERE[name]} -> other" in sentence
    assert compared(tmp_path, other) == []


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"\xff", b"[" * 100_000, b"{}", None])
def test_an_environment_that_is_not_known_is_said_once_or_refused(tmp_path, content):
    (tmp_path / "checkpoints" / "step-00000001").mkdir(parents=True)
    if content is not None:
        (tmp_path / "environment.json").write_bytes(content)
    with pytest.raises(UserError, match=r"is not known|numba unknown ->"):
        compared(tmp_path, HERE, must_be_same=True)
    assert len(compared(tmp_path, HERE)) == (content != b"{}")
    assert compared(tmp_path, HERE, must_be_same=True) == []


@pytest.mark.parametrize("name", CHANGE_BITS)
def test_a_part_that_was_not_written_down_is_unknown(tmp_path, name):
    (tmp_path / "environment.json").write_text(json.dumps({key: HERE[key] for key in HERE if key != name}))
    with pytest.raises(UserError, match=f"{name} unknown ->"):
        compared(tmp_path, HERE, must_be_same=True)
    # An earlier version wrote down less: only who wants the same environment must know all of it.
    assert compared(tmp_path, HERE) == []
