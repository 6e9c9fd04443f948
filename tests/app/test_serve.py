"""`mambrane serve`: where it listens, and for whom."""

import socket

import pytest

from mambrane.app.cli import main
from mambrane.app.serve import admitted_names, bound_socket, check_token, is_loopback
from mambrane.core.errors import UserError


@pytest.mark.parametrize(
    ("host", "is_own"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_addresses_of_this_machine_alone(host, is_own):
    assert is_loopback(host) == is_own


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.2", "127.0.0.2"),
        ("::1", "[::1]"),
        ("0:0:0:0:0:0:0:1", "[0:0:0:0:0:0:0:1]"),
    ],
)
def test_a_server_of_this_machine_alone_answers_to_the_host_that_was_asked_for(host, name):
    assert name in admitted_names(host)
    assert "evil.example" not in admitted_names(host)


def test_the_command_builds_its_server_for_the_host_that_it_was_given(tmp_path, monkeypatch, capsys):
    def build_app(_, *, hosts, **__):
        raise UserError(f"hosts {hosts}", wanted="no more than these", way_out="none")

    monkeypatch.delenv("MAMBRANE_TOKEN", raising=False)
    monkeypatch.setattr("mambrane.app.serve.Run.open", lambda *_, **__: None)
    monkeypatch.setattr("mambrane.app.serve.build_app", build_app)
    assert main(["serve", str(tmp_path), "--host", "127.0.0.2"]) == 2
    assert "'127.0.0.2'" in capsys.readouterr().err


def test_a_server_for_other_machines_answers_to_any_name():
    assert admitted_names("0.0.0.0") == ()


def test_other_machines_are_let_in_with_a_token_only(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("MAMBRANE_TOKEN", raising=False)
    assert main(["serve", str(tmp_path), "--host", "0.0.0.0"]) == 2
    assert "MAMBRANE_TOKEN" in capsys.readouterr().err
    check_token("x" * 16, "0.0.0.0")
    check_token("", "127.0.0.1")
    with pytest.raises(UserError, match="has 3 characters"):
        check_token("abc", "127.0.0.1")


def test_a_port_that_is_taken_is_said():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="--port 0 takes any that is free"):
            bound_socket("127.0.0.1", taken.getsockname()[1])
    bound_socket("127.0.0.1", 0).close()


@pytest.mark.parametrize("words", [["--max-seconds", "0"], ["--max-parallel", "0"], ["--port", "70000"]])
def test_limits_that_are_none_are_refused(tmp_path, capsys, words):
    assert main(["serve", str(tmp_path), *words]) == 2
    assert words[0] in capsys.readouterr().err
