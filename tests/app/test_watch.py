"""`mambrane watch`."""

import pytest

from mambrane.app.cli import main
from mambrane.report.live import LiveServer


def test_it_says_where_the_page_is_and_ctrl_c_ends_it_quietly(tmp_path, capsys, monkeypatch):
    (tmp_path / "config.json").write_text("{}")

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(LiveServer, "serve_forever", interrupted)
    assert main(["watch", str(tmp_path), "--port", "0"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("http://127.0.0.1:")
    assert told.err == ""


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_refused(tmp_path, capsys, port):
    assert main(["watch", str(tmp_path), f"--port={port}"]) == 2
    assert "--port" in capsys.readouterr().err
