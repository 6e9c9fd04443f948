"""Processes that would not train the same run are told before they start, by what differs."""

from dataclasses import replace
from pathlib import Path

import pytest

from mambrane.data.corpus import Corpus
from mambrane.engine.ranks import ONE_RANK, Ranks, RanksDifferError
from mambrane.settings import presets
from mambrane.storage.run_folder import RunFolder
from mambrane.training import processes
from mambrane.training.processes import require_same_start, require_shared


class Together(Ranks):
    """A rank whose partners' values are made of its own by a function each."""

    def __init__(self, *others, rank=0):
        super().__init__(rank, 1 + len(others))
        self.others = others

    def gather(self, value):
        return [value, *(other(value) for other in self.others)]


def same(value):
    return value


def text(content_hash="abc"):
    return Corpus(Path("letters"), {"name": "letters", "content_hash": content_hash})


def test_equal_processes_may_start():
    require_same_start(Together(same, same), presets.tiny(), [text()])
    require_same_start(ONE_RANK, presets.tiny(), [text()])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("the text letters (its hash)", "abd"),
        ("the version of torch", "0.1"),
        ("the settings (their hash)", "0"),
        ("the text more (its hash)", "abc"),
    ],
)
def test_what_differs_is_named_with_the_rank(name, found):
    def other(facts):
        return facts | {name: found}

    with pytest.raises(RanksDifferError, match=f"{found} for rank 2") as raised:
        require_same_start(Together(same, other), presets.tiny(), [text()])
    assert name in str(raised.value)


def test_settings_that_change_nothing_may_differ_between_machines():
    ranks, config = Together(same), presets.tiny()
    seen = []
    ranks.require_same = lambda facts, way_out: seen.append(facts)
    require_same_start(ranks, config, [])
    require_same_start(ranks, replace(config, run=replace(config.run, device="cpu")), [])
    assert seen[0] == seen[1]


def test_a_folder_that_others_do_not_see_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.lock():
        require_shared(Together(same), folder)
        with pytest.raises(RanksDifferError, match="another place for rank 1 than for rank 0"):
            require_shared(Together(lambda value: False if value is True else value), folder, within_s=0.0)


def test_a_folder_with_the_lock_of_another_run_is_another_place(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.lock():
        pass
    theirs = Together(lambda value: value, rank=1)
    theirs.gather = lambda value: [b"of rank 0" if value == b"" else True, value]
    with pytest.raises(RanksDifferError, match="rank 1"):
        require_shared(theirs, folder, within_s=0.0)
    assert processes.SEEN_WITHIN_S > 0
