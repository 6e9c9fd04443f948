"""The pages in a real browser without a window, where one is installed: colours, widths, the live script at work."""

import re
import shutil
import subprocess
import threading

import pytest

from mambrane.core.events import EventLog
from mambrane.report.data import read_report_data
from mambrane.report.live import LiveServer
from mambrane.report.report import report_page
from tests.watch.shown import step_event, task_started

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs Chromium")]
MEASURE = """<script>const root = document.documentElement;
root.dataset.measured = [root.scrollWidth, root.clientWidth, getComputedStyle(document.body).backgroundColor].join("|");
</script></body>"""


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text('{"run": {"a long setting that has no place to break": "' + "x" * 200 + '"}}')
    log = EventLog(folder / "events.jsonl")
    for event in (task_started(), *map(step_event, range(1, 30))):
        log.emit(**{"kind" if name == "event" else name: value for name, value in event.items() if name != "time_s"})
    log.close()
    return folder


def page_in_browser(address, *words, profile):
    """Return the page as the browser has it after three seconds of its own time."""
    fixed = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--virtual-time-budget=5000"]
    ended = subprocess.run(
        [BROWSER, *fixed, *words, "--dump-dom", address], capture_output=True, text=True, check=True, timeout=120
    )
    return ended.stdout


@pytest.mark.parametrize(("scheme", "paper"), [(1, "rgb(255, 255, 255)"), (0, "rgb(20, 25, 31)")])
def test_a_phone_shows_the_whole_width_in_the_colours_that_the_reader_has_chosen(run, tmp_path, scheme, paper):
    file = tmp_path / "report.html"
    file.write_text(report_page(read_report_data(run)).replace("</body>", MEASURE))
    words = ["--window-size=390,800", f"--blink-settings=preferredColorScheme={scheme}"]
    page = page_in_browser(file.as_uri(), *words, profile=tmp_path / "profile")
    wanted, there, background = re.search('data-measured="([^"]+)"', page).group(1).split("|")
    assert int(wanted) <= int(there)
    assert background == paper


def test_the_live_page_follows_the_run_under_its_own_security_policy(run, tmp_path):
    with LiveServer(run, 0) as server:
        first = server.page.version
        asked = []
        server.page.version = lambda: asked.append(1) or first()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        page = page_in_browser(server.url, profile=tmp_path / "profile")
        server.shutdown()
        thread.join()
    assert asked, "the script runs and asks for the version"
    assert 'id="pause"' in page
    assert "<svg" in page
