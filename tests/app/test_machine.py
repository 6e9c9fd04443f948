"""What `mambrane info` says of this machine."""

import sys

import pytest

from mambrane.app.cli import main
from mambrane.app.machine import cache_folders, machine_facts
from mambrane.ops.warm_up import compile_kernels


def test_info_without_a_run_says_what_a_bug_report_needs(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for word in ("python", "torch", "numba", "llvmlite", "numpy", "processor", "threads", "selective_scan", "cache"):
        assert word in text
    assert sys.version.split()[0] in text


@pytest.mark.parametrize("name", ["MAMBRANE_TOKEN", "MAMBRANE_API_KEY", "MAMBRANE_secret"])
def test_a_secret_is_named_and_never_printed(name, capsys, monkeypatch):
    monkeypatch.setenv(name, "a-secret-of-forty-two")
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert f"{name} " in text
    assert "(set)" in text
    assert "a-secret-of-forty-two" not in text


def test_the_folder_of_the_kernels_is_the_one_that_holds_them():
    compile_kernels(lambda message: None, ["gated_skip"])
    folders = cache_folders()["compiled kernels"]
    assert any(path.name.endswith(".kernel") for folder in folders for path in folder.rglob("*"))
    assert "in 0 files" not in machine_facts()["cache folders"]["compiled kernels"]
