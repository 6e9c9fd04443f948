"""Extensions from other packages: the example of docs/extending.md as written, and what is refused."""

import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import jaxtyping
import pytest
import torch

import mambrane
from mambrane.app.cli import main, parse_train
from mambrane.core.errors import UserError
from mambrane.core.events import read_events
from mambrane.settings.config import RunConfig, RunOptions
from mambrane.settings.outside import arguments_of, load_extensions, with_extensions
from tests.contract.main_job import newest_weights, train_words, write_domains

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
SHORT = ("--num-tasks", "2", "--epochs", "2", "--no-use-stdp", "--max-steps")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with the example's file in it, a cache of its own, and texts."""
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"<!-- example: oja.py -->\n```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    (tmp_path / "oja.py").write_text(example)
    write_domains(tmp_path / "texts")
    yield tmp_path
    sys.modules.pop("oja", None)


def train(output, steps, *extra):
    return main(train_words("texts", output, *SHORT, str(steps), *extra)[2:])


def test_the_example_is_a_rule_in_20_lines():
    code = (Path("oja.py").read_text().split("class Oja")[1]).splitlines()
    assert len([line for line in code if line.strip()]) <= 20


def test_a_rule_from_outside_acts_is_shown_and_survives_a_restart_like_a_rule_of_the_house():
    assert train("straight", 4, "--extension", "oja:Oja", "rate=0.05") == 0
    assert train("plain", 4) == 0
    assert newest_weights(Path("straight")) != newest_weights(Path("plain"))
    assert train("stopped", 2, "--extension", "oja:Oja", "rate=0.05") == 0
    assert train("stopped", 4, "--extension", "oja:Oja", "rate=0.05") == 0
    assert newest_weights(Path("stopped")) == newest_weights(Path("straight"))
    events = list(read_events(Path("straight/events.jsonl")))
    assert any(event.get("numbers", {}).get("oja/mean_change", 0) > 0 for event in events if "step" in event)
    assert any("oja:Oja rate=0.05" in event.get("message", "") for event in events)


def test_a_dry_run_checks_and_lists_the_extensions_and_names_the_folder_of_the_real_run(capsys, monkeypatch):
    # Without the type checker of the tests, as users are.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    words = train_words("texts", "unused", *SHORT, "1", "--dry-run")[2:]
    at = words.index("--output-dir")
    del words[at : at + 2]
    assert main([*words, "--extension", "oja:Oja", "rate=0.05"]) == 0
    assert "extension oja:Oja rate=0.05\n" in capsys.readouterr().out
    assert main([*words, "--extension", "oja:Oja", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["extensions"] == plan["config"]["run"]["extension"] == ["oja:Oja", "rate=0.001"]
    for wrong, told in ((["nowhere:Rule"], "cannot be imported"), (["oja:Oja", "speed=1"], "no such setting")):
        assert main([*words, "--extension", *wrong]) == 2
        assert told in capsys.readouterr().err
    Path("stateless.py").write_text("class Rule:\n    name = 'rule'\n\n    def after_step(self, view):\n        pass\n")
    assert main([*words, "--extension", "stateless:Rule"]) == 2
    assert "a resumed run would lose it" in capsys.readouterr().err
    sys.modules.pop("stateless", None)


def test_at_zero_strength_it_changes_no_bit_of_the_weights():
    assert train("zero", 3, "--extension", "oja:Oja", "rate=0.0") == 0
    assert train("plain", 3) == 0
    assert newest_weights(Path("zero")) == newest_weights(Path("plain"))


def test_another_setting_or_none_is_another_run(capsys):
    assert train("run", 2, "--extension", "oja:Oja", "rate=0.05") == 0
    for words in (("--extension", "oja:Oja", "rate=0.06"), ()):
        assert train("run", 3, *words) == 2
        assert "run.extension" in capsys.readouterr().err


def test_an_object_given_to_train_is_the_same_as_its_words():
    assert train("words", 3, "--extension", "oja:Oja", "rate=0.05") == 0
    import oja  # the example's file

    config = parse_train(train_words("texts", "object", *SHORT, "3")[3:])
    run = mambrane.train(replace(config), extensions=[oja.Oja(rate=0.05)])
    assert run.config.run.extension == ("oja:Oja", "rate=0.05")
    assert newest_weights(Path("object")) == newest_weights(Path("words"))


def test_words_and_objects_are_each_other():
    [first, second] = load_extensions(["oja:Oja", "rate=0.5", "oja:Oja"])
    assert (first.rate, second.rate) == (0.5, 0.001)
    assert arguments_of(first) == ["oja:Oja", "rate=0.5"]


def test_objects_that_are_given_stand_behind_the_words_of_a_configuration():
    named = RunConfig(run=RunOptions(extension=("oja:Oja", "rate=0.5")))
    config, extensions = with_extensions(named, load_extensions(["oja:Oja"]))
    assert [extension.rate for extension in extensions] == [0.5, 0.001]
    assert config.run.extension == ("oja:Oja", "rate=0.5", *arguments_of(extensions[1]))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rate=0.5"], "--extension rate=0.5"),
        (["oja"], "--extension oja\n"),
        (["nowhere:Oja"], "the module cannot be imported (ModuleNotFoundError"),
        (["broken:Rule"], "the module cannot be imported (ZeroDivisionError"),
        (["oja:Hebb"], "the module has no class 'Hebb'"),
        (["oja:torch"], "the module has no class 'torch'"),
        (["oja:Oja", "speed=1"], "it has no such setting"),
        (["oja:Oja", "rate=fast"], "rate: 'fast'"),
        (["needs:Rule"], "missing 1 required positional argument"),
        (["strict:Rule", "rate=7"], "ValueError: rate must be below 1"),
    ],
)
def test_what_cannot_be_loaded_is_a_clear_error(words, sentence):
    Path("broken.py").write_text("1 / 0\n")
    Path("needs.py").write_text("from dataclasses import dataclass\n\n\n@dataclass\nclass Rule:\n    rate: float\n")
    Path("strict.py").write_text(
        "from dataclasses import dataclass\n\n\n@dataclass\nclass Rule:\n    rate: float\n\n"
        "    def __post_init__(self):\n        raise ValueError('rate must be below 1')\n"
    )
    with pytest.raises(UserError) as error:
        load_extensions(words)
    assert sentence in str(error.value)
    for module in ("needs", "strict"):
        sys.modules.pop(module, None)


def test_a_setting_that_cannot_be_written_down_is_named():
    @dataclass
    class Rule:
        weights: object

    with pytest.raises(UserError, match=r"Rule: its setting weights is a Tensor, which the run cannot write down"):
        arguments_of(Rule(torch.zeros(2)))


POISON = """
from dataclasses import dataclass
from pathlib import Path

from mambrane import Method, StepChange


@dataclass
class Poison(Method):
    name = "poison"

    def after_step(self, view):
        name, weight = next(iter(view.model.plastic_synapses().items()))
        is_poisoned = Path("poisoned").exists() and view.applied_step >= 5
        return StepChange({}, {name: weight * float("nan")} if is_poisoned else {})

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
"""
"""Spoils a weight in the fifth step and later, as long as a file says so."""


def test_the_last_checkpoint_stays_and_resumes_after_weights_that_are_not_finite(capsys):
    Path("poison.py").write_text(POISON)
    assert train("straight", 6, "--extension", "poison:Poison") == 0
    Path("poisoned").touch()
    assert train("spoilt", 6, "--extension", "poison:Poison") == 2
    assert "is not finite" in capsys.readouterr().err
    assert newest_weights(Path("spoilt"))["step"] == b"step-00000003"
    Path("poisoned").unlink()
    assert train("spoilt", 6, "--extension", "poison:Poison") == 0
    assert newest_weights(Path("spoilt")) == newest_weights(Path("straight"))
    sys.modules.pop("poison", None)


def test_what_could_not_be_resumed_is_refused(capsys):
    Path("stateless.py").write_text("class Rule:\n    name = 'rule'\n\n    def after_step(self, view):\n        pass\n")
    assert train("run", 1, "--extension", "stateless:Rule") == 2
    assert "a resumed run would lose it" in capsys.readouterr().err
    sys.modules.pop("stateless", None)
