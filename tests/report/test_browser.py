"""The pages in a real browser without a window, where one is installed: colours, widths, the live script at work."""

import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from mambrane.report.data import read_report_data
from mambrane.report.live import LiveServer
from mambrane.report.report import report_page
from tests.report.written import NUMBERS, write_run

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs Chromium")]
MEASURE = """<script>const root = document.documentElement;
root.dataset.measured = [root.scrollWidth, root.clientWidth, getComputedStyle(document.body).backgroundColor].join("|");
</script>"""
LOAD = """<script>const links = [...document.querySelectorAll('a[download$=".svg"]')];
const loaded = link => new Promise(done => {
  const image = new Image();
  image.onload = () => done(image.naturalWidth), image.onerror = () => done(0), image.src = link.href;
});
Promise.all(links.map(loaded)).then(widths => {
  document.documentElement.dataset.loaded = links.map((link, n) => link.download + "=" + widths[n]).join("|");
});
</script>"""


def write_folder(folder):
    folder.mkdir()
    write_run(folder, numbers=NUMBERS)
    (folder / "config.json").write_text('{"run": {"a long setting that has no place to break": "' + "x" * 200 + '"}}')
    return folder


def page_in_browser(address, *words, profile):
    """Return the page as the browser has it after three seconds of its own time."""
    fixed = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--virtual-time-budget=5000"]
    ended = subprocess.run(
        [BROWSER, *fixed, *words, "--dump-dom", address], capture_output=True, text=True, check=True, timeout=120
    )
    return ended.stdout


@pytest.fixture(scope="module")
def on_a_phone(tmp_path_factory):
    """Return the page as a phone has it, for each colour scheme, 1 the light one; what the scripts found is in it."""
    place = tmp_path_factory.mktemp("phone")
    file = place / "report.html"
    file.write_text(
        report_page(read_report_data(write_folder(place / "run"))).replace("</body>", MEASURE + LOAD + "</body>")
    )
    words = ["--window-size=390,800", "--blink-settings=preferredColorScheme="]
    return {
        scheme: page_in_browser(file.as_uri(), words[0], f"{words[1]}{scheme}", profile=place / f"profile{scheme}")
        for scheme in (0, 1)
    }


@pytest.mark.parametrize(("scheme", "paper"), [(1, "rgb(255, 255, 255)"), (0, "rgb(20, 25, 31)")])
def test_a_phone_shows_the_whole_width_in_the_colours_that_the_reader_has_chosen(on_a_phone, scheme, paper):
    wanted, there, background = re.search('data-measured="([^"]+)"', on_a_phone[scheme]).group(1).split("|")
    assert int(wanted) <= int(there)
    assert background == paper


def test_every_picture_that_the_page_gives_away_is_one_to_the_browser(on_a_phone):
    widths = dict(each.split("=") for each in re.search('data-loaded="([^"]+)"', on_a_phone[1]).group(1).split("|"))
    assert {"training.svg", "matrix.svg", "forgetting.svg"} <= set(widths)
    assert all(int(width) > 100 for width in widths.values()), widths


def test_the_live_page_follows_the_run_under_its_own_security_policy(tmp_path):
    with LiveServer(write_folder(tmp_path / "run"), 0) as server:
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


def test_what_is_wider_than_a_page_of_the_site_can_be_scrolled_by_keys_and_its_parts_have_names(tmp_path):
    file = tmp_path / "page.html"
    script = (Path(__file__).parents[2] / "docs" / "_static" / "reading.js").as_uri()
    wide, narrow = f"<pre style='overflow: auto'>{'x' * 2000}</pre>", "<pre>x</pre>"
    caption = "<p class='caption' role='heading'>Tutorials</p>"
    file.write_text(
        f"<body><aside class='sidebar-drawer'>{caption}</aside>{wide}{narrow}<script src='{script}'></script></body>"
    )
    page = page_in_browser(file.as_uri(), profile=tmp_path / "profile")
    assert page.count('tabindex="0"') == 1
    assert re.search(r'<pre style="overflow: auto" tabindex="0">', page)
    assert 'aria-label="Pages of this site"' in page
    assert 'aria-level="2"' in page
