"""The container file: instructions that there are, files that there are, a command that the package installs."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
KNOWN = {"FROM", "ENV", "RUN", "COPY", "USER", "WORKDIR", "VOLUME", "ENTRYPOINT", "CMD"}


def test_it_installs_this_package_as_an_ordinary_user_and_starts_its_command():
    text = (ROOT / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    steps = [line.partition(" ")[::2] for line in lines]
    assert {name for name, _ in steps} <= KNOWN
    assert steps[0][0] == "FROM"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (start,) = [words for name, words in steps if name == "ENTRYPOINT"]
    assert re.findall(r'"(\w+)"', start) == list(project["scripts"])
    (extra,) = re.findall(r"/src\[(\w+)\]", text)
    assert extra in project["optional-dependencies"]
    assert (ROOT / "constraints.txt").exists()
    # What is compiled and what is read lie on the volume: a container that is thrown away leaves them to the next.
    (settings,) = [dict(word.split("=") for word in words.split()) for name, words in steps if name == "ENV"]
    (kept,) = [words for name, words in steps if name == "VOLUME"]
    assert f'"{settings["MAMBRANE_CACHE"]}"' in kept
    assert settings["NUMBA_CACHE_DIR"].startswith(f"{settings['MAMBRANE_CACHE']}/")
    names = [name for name, _ in steps]
    assert names.index("USER") > max(place for place, name in enumerate(names) if name == "RUN")


def test_what_git_ignores_is_not_copied_into_it():
    def lines(name):
        return {line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if line and line[0] != "#"}

    left_out = {line.removeprefix("**/") for line in lines(".dockerignore")}
    assert lines(".gitignore") | {".git"} <= left_out
    needed = ("constraints.txt", "pyproject.toml", "README.md", "LICENSE", "mambrane")
    assert not {name for name in needed if name in {line.strip("/") for line in left_out}}
