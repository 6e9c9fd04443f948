"""Where the cache lies."""

import os
import pwd
from pathlib import Path

import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.cache_folder import cache_folder
from mambrane.data.domains import load_domains
from tests.data.texts import config_for, lines, write_files


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
    for name in ("MAMBRANE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)


def test_the_first_place_that_is_named_is_taken(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/home/me/.cache/mambrane")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/mambrane")
    monkeypatch.setenv("MAMBRANE_CACHE", "/mine")
    assert cache_folder() == Path("/mine")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    def nobody(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(UserError, match=r"no home folder(.|\n)*set MAMBRANE_CACHE"):
        cache_folder()


def test_a_home_that_does_not_exist_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "not" / "there"))
    data = write_files(tmp_path / "data", {"a.txt": lines("a")})
    load_domains(config_for(data), cache_folder(), EventLog())
    assert (tmp_path / "not" / "there" / ".cache" / "mambrane" / "tokens").is_dir()


@pytest.mark.parametrize("place", ["/dev/null/home", "/proc/home"])
def test_a_home_that_cannot_be_written_is_a_clear_error(tmp_path, monkeypatch, place):
    monkeypatch.setenv("HOME", place)
    data = write_files(tmp_path / "data", {"a.txt": lines("a")})
    with pytest.raises(UserError, match=rf"{place}/.*cannot be written(.|\n)*set MAMBRANE_CACHE to another folder"):
        load_domains(config_for(data), cache_folder(), EventLog())


def test_a_whole_cache_that_may_only_be_read_is_used(tmp_path):
    data = write_files(tmp_path / "data", {"a.txt": lines("a")})
    _, first = load_domains(config_for(data), tmp_path / "cache", EventLog())
    before = {path: os.stat(path).st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
    _, second = load_domains(config_for(data), tmp_path / "cache", EventLog())
    assert {path: os.stat(path).st_mtime_ns for path in (tmp_path / "cache").rglob("*")} == before
    assert [domain.record for domain in first] == [domain.record for domain in second]
