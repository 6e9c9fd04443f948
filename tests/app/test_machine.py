"""What `mambrane info` says of a machine."""

import sys

from mambrane.app.cli import main


def test_info_without_a_run_says_what_a_bug_report_needs(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for word in ("python", "torch", "numba", "llvmlite", "numpy", "processor", "threads", "selective_scan", "cache"):
        assert word in text
    assert sys.version.split()[0] in text
