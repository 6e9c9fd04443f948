"""One run of a study in its own process: its configuration comes on standard input."""

import subprocess
import sys

COMMAND = [sys.executable, "-m", "mambrane.studies.one_run"]


def test_without_a_configuration_the_study_has_gone_and_nothing_is_trained():
    assert subprocess.run(COMMAND, input="", text=True, check=False, timeout=120).returncode == 128 + 15


def test_a_configuration_that_is_refused_says_why():
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(COMMAND, text=True, **pipes) as process:
        # Standard input stays open, as that of a study that goes on.
        process.stdin.write('{"model": {"hidden_dim": 0}}\n')
        process.stdin.flush()
        assert process.wait(timeout=120) == 2
        told = process.stderr.read()
    assert "--hidden-dim 0" in told
    assert "Traceback" not in told
