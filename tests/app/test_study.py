"""The command study."""

from mambrane.app.cli import main


def test_the_command_lists_the_ready_studies_and_asks_for_one(capsys):
    assert main(["study", "--list"]) == 0
    assert "memory-share" in capsys.readouterr().out
    assert main(["study"]) == 2
    assert main(["study", "no-such"]) == 2
    assert "mambrane study --list" in capsys.readouterr().err
