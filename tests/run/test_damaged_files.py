"""A damaged file of a run is named; what does not depend on it is shown, and no command ends in a traceback."""

import json
import os
import shutil
from functools import partial

import pytest
import torch

import mambrane
from mambrane.app.cli import main
from mambrane.continual.matrix_file import load_matrix
from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.report.data import read_report_data
from mambrane.report.report import report_page
from mambrane.settings.config import from_dict
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.run_folder import RunFolder
from tests.contract.main_job import write_domains
from tests.settings.test_saved_config import change_setting
from tests.settings.whole_recipe import MAIN_SWITCHES

WORDS = (
    "--preset tiny --epochs 2 --hidden-dim 16 --num-layers 1 --spiking-units 8 --sequence-length 32 --batch-size 4 "
    f"--continual-learning --num-tasks 2 --max-heldout-bytes 64 --max-steps 4 {MAIN_SWITCHES}"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    write_domains(folder / "texts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAMBRANE_CACHE", str(folder / "cache"))
        assert (
            main(["train", *WORDS.split(), "--data", str(folder / "texts"), "--output-dir", str(folder / "run")]) == 0
        )
    return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A copy of the run that may be damaged."""
    monkeypatch.setenv("MAMBRANE_CACHE", str(made / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    shutil.copytree(made / "run", tmp_path / "run")
    return tmp_path / "run"


def commands(made, run):
    train = ["train", *WORDS.split(), "--data", str(made / "texts"), "--output-dir", str(run)]
    return {
        "info": ["info", str(run)],
        "evaluate": ["evaluate", str(run)],
        "generate": ["generate", str(run), "--max-tokens", "2"],
        "report": ["report", str(run)],
        "train": train,
    }


CONTENTS = {
    "null": b"null",
    "list": b"[]",
    "number": b"3",
    "text": b'"x"',
    "empty": b"",
    "object": b"{}",
    "binary": b"\x00\xff\xfe\x00",
    "deep": b"[" * 100_000,
    "digits": b"9" * 5000,
    "nan": b'{"model": NaN, "domains": NaN}',
}
NEEDED = {"config.json", "tokenizer.json", "manifest.json"}
"""Without one of these there is no model."""


def path_of(run, name):
    return max((run / "checkpoints").iterdir()) / name if name == "manifest.json" else run / name


@pytest.mark.slow
@pytest.mark.parametrize("content", ["list", "binary", "deep"])
@pytest.mark.parametrize(
    "name", ["matrix.json", "events.jsonl", "config.json", "domains.json", "tokenizer.json", "manifest.json"]
)
def test_every_command_answers_or_names_the_file(made, run, capsys, name, content):
    tail = b"\n" if name == "events.jsonl" else b""
    for command, words in commands(made, run).items():
        path_of(run, name).write_bytes(CONTENTS[content] + tail)
        capsys.readouterr()
        code = main(words)
        told = capsys.readouterr()
        assert "Traceback" not in told.err + told.out
        assert code in ((0, 2) if name in NEEDED else (0,)), (command, told.err)
        if code == 2:
            assert name in told.err
            assert "way out" in told.err
        reads = {"matrix.json": ["report"], "events.jsonl": ["info", "report"], "manifest.json": ["info", "evaluate"]}
        if command in reads.get(name, []):
            assert name in told.err, (command, told.err)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_a_damaged_matrix_or_configuration_is_refused_by_name(tmp_path, content):
    (tmp_path / "matrix.json").write_bytes(content)
    with pytest.raises(UserError, match=r"matrix\.json is damaged"):
        load_matrix(tmp_path / "matrix.json")
    (tmp_path / "config.json").write_bytes(content)
    if content not in (b"{}", CONTENTS["nan"]):
        with pytest.raises(UserError, match=r"config\.json is damaged"):
            RunFolder(tmp_path).read_config()


@pytest.mark.parametrize("place", ["a pipe", "a device"])
@pytest.mark.parametrize(
    "name", ["matrix.json", "events.jsonl", "config.json", "domains.json", "tokenizer.json", "environment.json"]
)
def test_what_has_no_end_in_the_place_of_a_file_is_not_waited_for(made, run, capsys, name, place):
    for command in ("info", "train"):
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name) if place == "a pipe" else (run / name).symlink_to("/dev/zero")
        code = main(commands(made, run)[command])
        assert code in (0, 2)
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["matrix.json", "events.jsonl"])
@pytest.mark.parametrize("damage", ["gone", "a folder"])
def test_the_rest_is_shown_where_a_file_is_gone_or_a_folder(made, run, capsys, name, damage):
    (run / name).unlink()
    if damage == "a folder":
        (run / name).mkdir()
    for command in ("info", "report"):
        assert main(commands(made, run)[command]) == 0
        assert capsys.readouterr().err.count(str(run / name)) == 1
    assert str(run / name) in (run / "report.html").read_text()


def test_a_run_whose_checkpoints_are_gone_says_that_it_begins_anew(made, run, capsys):
    shutil.rmtree(run / "checkpoints")
    assert main(commands(made, run)["train"]) == 0
    assert "the run begins anew" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["evaluate", "generate", "train"])
def test_another_tokenizer_of_the_same_size_is_refused(made, run, capsys, command):
    saved = json.loads((run / "tokenizer.json").read_text())
    definition = json.loads(saved["tokenizer"])
    pieces = definition["model"]["vocab"]
    pieces["a"], pieces["b"] = pieces["b"], pieces["a"]
    (run / "tokenizer.json").write_text(json.dumps({**saved, "tokenizer": json.dumps(definition)}))
    assert main(commands(made, run)[command]) == 2
    assert "the tokenizer is not the one that the run was trained with" in capsys.readouterr().err


def refusal_of(read):
    """Return what a reader refuses with, or None where it takes what it reads."""
    try:
        read()
    except UserError as error:
        return str(error)
    return None


def test_nothing_of_a_whole_run_is_called_damaged(made, capsys, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(made / "cache"))
    for command in ("info", "report"):
        assert main([command, str(made / "run")]) == 0
        assert "lines cannot be read" not in capsys.readouterr().err
    assert "Damaged: " not in (made / "run" / "report.html").read_text()


def every_part(value, path=()):
    """Yield the path of every value inside a JSON value."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from every_part(child, (*path, key))


def with_part(value, path, part):
    if not path:
        return part
    changed = value.copy()
    changed[path[0]] = with_part(value[path[0]], path[1:], part)
    return changed


@pytest.mark.parametrize("part", [None, [], 3, -1, "x", {}, 1e400, float("nan"), 10**30, True], ids=repr)
def test_a_matrix_with_any_part_replaced_is_taken_or_refused_by_name(run, tmp_path, part):
    whole, damaged = json.loads((run / "matrix.json").read_text()), tmp_path / "damaged.json"
    for path in every_part(whole):
        damaged.write_text(json.dumps(with_part(whole, path, part)))
        refusal = refusal_of(partial(load_matrix, damaged))
        assert refusal is None or "damaged.json" in refusal


@pytest.mark.parametrize("part", [None, [], 3, "x", {}, 1e400, -1, 10**30, True], ids=repr)
def test_a_configuration_with_any_part_replaced_is_taken_or_refused_by_name(run, part):
    whole = json.loads((run / "config.json").read_text())
    for path in every_part(whole):
        sections = with_part(whole, path, part) if path else {"model": part}
        refusal = refusal_of(partial(from_dict, sections, source="config.json"))
        assert refusal is None or "config.json" in refusal or refusal.startswith("--")


@pytest.mark.parametrize("part", [None, [], 3, "x", {}, 1e400, -1, 10**30, True], ids=repr)
def test_events_with_any_field_replaced_are_left_out_of_the_report_or_shown(run, part, capsys):
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    latest = {event["event"]: event for event in lines}
    changed = [{**event, name: part} for event in latest.values() for name in event]
    lacking = [
        {key: value for key, value in event.items() if key != name} for event in latest.values() for name in event
    ]
    text = "".join(json.dumps(event) + "\n" for event in [*lines, *changed, *lacking])
    (run / "events.jsonl").write_text(text)
    told = []
    page = report_page(read_report_data(run, tell_damage=told.append))
    assert any("events.jsonl" in sentence for sentence in told)
    assert "Damaged: " in page


@pytest.mark.parametrize("command", ["evaluate", "generate", "report"])
def test_weights_that_are_not_finite_are_named(run, capsys, command, monkeypatch):
    original = Checkpoints.load

    def load(checkpoints, path):
        checkpoint = original(checkpoints, path)
        next(iter(checkpoint.weights["model"].values())).flatten()[0] = torch.nan
        return checkpoint

    monkeypatch.setattr(Checkpoints, "load", load)
    words = [command, str(run)]
    assert main(words) == 2
    assert "is not finite" in capsys.readouterr().err


def test_every_command_and_call_refuses_an_edited_configuration(made, run, capsys):
    texts = str(made / "texts")
    change_setting(run, "run", "seed", 7)
    more = {
        "resumed with the edit": [*commands(made, run)["train"], "--seed", "7"],
        "learn": ["learn", str(run), "--data", texts],
        "score": ["score", str(run), str(made / "texts" / "domain0.txt")],
        "export": ["export", str(run)],
        "compare": ["compare", str(run), str(made / "run")],
        "init": ["train", "--preset", "tiny", "--init-from", str(run), "--data", texts, "--dry-run"],
    }
    for command, words in (commands(made, run) | more).items():
        assert main(words) == 2, command
        assert "run.seed: 0 -> 7" in capsys.readouterr().err, command


DOMAIN_DAMAGES = {
    "cut": lambda text: text[:-10],
    "no list": lambda text: "{}",
    "empty list": lambda text: "[]",
    "one record of two": lambda text: json.dumps([json.loads(text)[0], {"name": "x"}]),
    "a count that is none": lambda text: json.dumps([{**json.loads(text)[0], "train": 3}, json.loads(text)[1]]),
    "gone": lambda text: None,
}


@pytest.mark.parametrize("damage", DOMAIN_DAMAGES.values(), ids=DOMAIN_DAMAGES)
def test_what_is_wrong_with_the_record_of_the_text_is_said_and_a_resume_mends_it(made, run, capsys, damage):
    file = run / "domains.json"
    whole = file.read_text()
    changed = damage(whole)
    file.unlink() if changed is None else file.write_text(changed)
    assert main(["info", str(run)]) == 0
    assert capsys.readouterr().err.count(str(file)) == 1
    assert any(str(file) in sentence for sentence in read_report_data(run).damages)
    assert main(commands(made, run)["train"]) == 0
    assert "it is written anew" in capsys.readouterr().out
    assert json.loads(file.read_text()) == json.loads(whole)


@pytest.mark.parametrize("command", ["evaluate", "learn", "export", "generate"])
def test_a_damaged_record_of_the_text_is_said_and_the_rest_done(made, run, capsys, command):
    (run / "domains.json").write_text("[")
    learn = ["learn", str(run), "--data", str(made / "texts" / "domain0.txt"), "--epochs", "1"]
    words = {"learn": learn, "export": ["export", str(run)]}
    assert main(words.get(command) or commands(made, run)[command]) == 0
    told = capsys.readouterr()
    assert (told.out + told.err).count(str(run / "domains.json")) == 1


def test_a_number_of_the_matrix_that_was_edited_is_told(run):
    file, told = run / "matrix.json", []
    saved = mambrane.Run.open(run, events=telling(told)).matrix
    assert told == []
    state = json.loads(file.read_text())
    state["bits_per_byte"][0][1] += 0.5
    file.write_text(json.dumps(state))
    assert mambrane.Run.open(run, events=telling(told)).matrix.values[0][1] == saved.values[0][1] + 0.5
    (sentence,) = told
    assert f"{file} was changed: 1 of its numbers" in sentence


def telling(told):
    """Return an event log that adds the message of each event to a list."""
    events = EventLog()
    events.listeners.append(lambda event: told.append(event["message"]))
    return events


def test_a_run_that_was_killed_before_it_wrote_its_text_down_begins_anew(made, run):
    for name in ("domains.json", "tokenizer.json"):
        (run / name).unlink()
    shutil.rmtree(run / "checkpoints")
    assert main(commands(made, run)["train"]) == 0
    assert (run / "domains.json").read_text() == (made / "run" / "domains.json").read_text()
