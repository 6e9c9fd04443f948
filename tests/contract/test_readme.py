"""What the README and the tree promise is so."""

import argparse
import re
import shlex
from pathlib import Path

import pytest

import mambrane
from benchmarks.tiny_shakespeare import CONTENDERS
from mambrane.app.arguments import LearnArguments
from mambrane.app.flags import hints_of, split_words
from mambrane.app.train_settings import parse_train

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command(name: str) -> str:
    return re.search(rf"<!-- command: {name} -->\n```sh\n(.*?)```", README, re.DOTALL)[1].replace("\\\n", " ")


def test_the_main_command_is_understood_and_turns_everything_on():
    words = shlex.split(command("main").split("&&")[-1])
    assert words[:3] == [".venv/bin/python", "scripts/cli.py", "train"]
    config = parse_train(words[3:])
    assert config.run.epochs == 30
    assert config.continual.num_tasks == 5
    assert config.model.integration_mode == "bidirectional"
    for section, switch in (
        ("continual", "continual_learning"),
        ("continual", "use_replay"),
        ("plasticity", "use_stdp"),
        ("plasticity", "use_meta_plasticity"),
        ("model", "use_mamba"),
        ("model", "use_adaptive_gating"),
        ("model", "use_cross_attention"),
    ):
        assert getattr(getattr(config, section), switch), switch


def test_the_words_of_the_commands_that_teach_a_run_are_understood():
    lines = [shlex.split(line) for line in command("learn").splitlines() if "mambrane learn" in line]
    assert len(lines) == 2
    for words in lines:
        assert words[:3] == [".venv/bin/mambrane", "learn", "runs/first"]
        split_words(words[2:], hints_of(LearnArguments), command="learn", num_positional=1)


def test_the_commands_of_the_first_table_train_its_rows_with_its_seeds():
    commands = re.findall(r"`python benchmarks/tiny_shakespeare\.py ([^`]+)`", README)
    parser = argparse.ArgumentParser()
    parser.add_argument("--data")
    parser.add_argument("--models", nargs="+", choices=list(CONTENDERS))
    parser.add_argument("--seeds", nargs="+")
    options = [parser.parse_args(shlex.split(words)) for words in commands]
    trained = [str(len(one.seeds)) for one in options for _ in one.models]
    table = README.split("| model | parameters | seeds |")[1].split("\n\n")[0]
    assert trained == [line.split("|")[3].strip() for line in table.splitlines()[2:]]


def test_the_test_command_installs_what_it_names():
    for file in re.findall(r"-[rc] (\S+)", command("tests")):
        assert (ROOT / file).exists(), file


def test_every_folder_of_the_tree_is_in_the_readme_and_the_reverse():
    tree = re.search(r"## The tree.*?```text\n(.*?)```", README, re.DOTALL)[1]
    named = set(re.findall(r"^  (\w+)/ ", tree, re.MULTILINE))
    there = {path.name for path in (ROOT / "mambrane").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert named == there


def test_every_link_of_the_docs_leads_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"


@pytest.mark.parametrize(
    "mentioned", sorted(set(re.findall(r"`((?:tests|docs|mambrane|benchmarks)/[\w/.]+)`", README)))
)
def test_every_path_in_the_readme_exists(mentioned):
    assert (ROOT / mentioned).exists()


def test_every_test_that_the_docs_name_exists():
    named = [
        (page.name, *match)
        for page in (ROOT / "docs").rglob("*.md")
        for match in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text(encoding="utf-8"))
    ]
    assert len(named) > 40
    for page, file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{page} -> {file}::{test}"


def test_the_version_is_the_same_everywhere():
    assert f'version = "{mambrane.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f"## {mambrane.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
