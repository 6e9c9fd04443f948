"""Runs that several files look at, each trained once."""

import os
from pathlib import Path

import pytest

from tests.run.trained import train_small
from tests.run.whole_recipe import MAIN_SWITCHES


@pytest.fixture(scope="session")
def hybrid_run(tmp_path_factory) -> Path:
    """A finished run of two tasks with a hybrid block, every switch of the main command on."""
    return _keep_cache(tmp_path_factory.mktemp("hybrid"), *MAIN_SWITCHES.split())


@pytest.fixture(scope="session")
def mamba_run(tmp_path_factory) -> Path:
    """One of plain Mamba blocks, with replay."""
    return _keep_cache(tmp_path_factory.mktemp("mamba"), "--block-pattern", "mamba")


def _keep_cache(folder: Path, *words: str) -> Path:
    before = os.environ.get("MAMBRANE_CACHE")
    try:
        return train_small(folder, *words)
    finally:
        os.environ.pop("MAMBRANE_CACHE")
        if before is not None:
            os.environ["MAMBRANE_CACHE"] = before
