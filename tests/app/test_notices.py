"""What a command says beside its answer goes to standard error, once for each event that warns."""

from mambrane.app.notices import announced_events


def test_warnings_and_announcements_go_to_standard_error_and_other_events_nowhere(capsys):
    events = announced_events()
    events.emit("warning", message="the matrix is damaged")
    events.emit("compiling", message="compiling CPU kernels")
    events.emit("checkpoint_loaded", step=3)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert [line for line in printed.err.splitlines() if line] == [
        "warning the matrix is damaged",
        "compiling CPU kernels",
    ]
