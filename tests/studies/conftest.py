"""A small study and the table of its runs."""

import pytest

from mambrane.studies.results import read_table
from tests.studies.small import small_study, write_all_runs


@pytest.fixture
def study():
    return small_study()


@pytest.fixture
def table(study, tmp_path):
    return read_table(study, write_all_runs(study, tmp_path), threads=1)
