"""The live page: it follows the run, and answers this machine's own browser alone."""

import http.client
import socket
import threading

import pytest

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.report import live
from mambrane.report.live import HEADERS, SCRIPT, LivePage, LiveServer


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.fixture
def server(run):
    with LiveServer(run, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer, content


def test_the_page_is_there_with_its_script_and_may_load_nothing_else(server):
    answer, page = ask(server)
    assert answer.status == 200
    assert page.startswith("<!DOCTYPE html>")
    assert f"<script>{SCRIPT}</script>" in page
    assert page.count("<script") == 1
    assert page.count('id="pause"') == 1
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert answer.headers["Access-Control-Allow-Origin"] is None
    assert HEADERS.items() <= dict(answer.headers).items()
    assert ask(server, method="HEAD")[1] == ""


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.net", ""]
)
def test_another_host_name_is_refused_as_a_rebound_one_would_be(server, host):
    answer, content = ask(server, Host=host)
    assert answer.status == 421
    assert "<html" not in content


def test_localhost_is_this_machine_too(server):
    assert ask(server, Host=f"LocalHost:{server.server_port}")[0].status == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_site_asks_for_is_refused(server, site):
    assert ask(server, Sec_Fetch_Site=site)[0].status == 403


@pytest.mark.parametrize(
    "path",
    ["/config.json", "/../config.json", "/%2e%2e/etc/passwd", "//etc/passwd", "/?x=1", "/version/..", "/index.html"],
)
def test_no_file_is_served(server, path):
    answer, content = ask(server, path)
    assert (answer.status, content) == (404, "only / is here\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_is_read_only(server, method):
    assert ask(server, method=method)[0].status == 501


def test_the_page_changes_with_the_run_and_is_not_drawn_twice_for_nothing(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(live, "report_page", lambda data: drawn.append(1) or '<html lang="en"><main></main></body>')
    monkeypatch.setattr(live, "PAUSE_OVER_DRAWING", 0.0)
    page = LivePage(run)
    first = page.html()
    assert page.html() == first
    assert page.version() in first
    log = EventLog(run / "events.jsonl")
    log.emit("run_started")
    log.close()
    assert page.version() not in first
    assert page.version() in page.html()
    assert len(drawn) == 2


def test_drawing_leaves_most_of_the_time_to_the_training(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(live, "report_page", lambda data: drawn.append(1) or '<html lang="en"><main></main></body>')
    monkeypatch.setattr(live, "PAUSE_OVER_DRAWING", 1e9)
    page = LivePage(run)
    first = page.html()
    (run / "events.jsonl").write_text('{"event": "run_started"}\n')
    assert page.html() == first
    assert page.version() in first
    assert len(drawn) == 1


def test_a_run_whose_configuration_breaks_is_answered_with_a_sentence(run, server):
    (run / "config.json").write_text("{")
    answer, content = ask(server)
    assert answer.status == 500
    assert "config.json" in content
    assert "Traceback" not in content


def test_a_port_that_is_taken_and_a_folder_without_a_run_are_clear_errors(run, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="--port 0 takes any that is free"):
            LiveServer(run, taken.getsockname()[1])
    with pytest.raises(UserError, match="is not the folder of a run"):
        LiveServer(tmp_path / "none", 0)
