"""Nothing that has a state is left out of a checkpoint of a whole run, and nothing is forgotten on the way back."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from mambrane.continual.stream import build_stream
from mambrane.core.events import EventLog
from mambrane.core.renamed import STATE
from mambrane.core.stateful import Stateful
from mambrane.run.build import build_model
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.run_folder import RunFolder
from mambrane.storage.saver import BackgroundSaver
from mambrane.training.assembly import build_runner, parts_of, restore
from tests.contract.whole_run import CONFIG, CPU, VOCAB_SIZE, domains_of, sit, whole_state
from tests.engine.tiny_training import differences

SAVED_IN_ANOTHER_FORM = {
    "AdamW": "by the names of the parameters: tests/engine/test_optimizer.py",
    "ExponentialMovingAverage": "its tensors as weights, ema.safetensors: tests/engine/test_trainer.py",
    "Trainer": "as several files",
    "Extensions": "by the names of the extensions, each of which is looked for by itself",
}
SCAFFOLDING = {"SGD": "the flag that GradScaler is shown has a gradient and no moments"}


@pytest.fixture
def busy_runner(tmp_path):
    """A run stopped in the middle of its last task: every extension has something to remember."""
    return sit(tmp_path, domains_of(7, 7, 7), should_stop=lambda runner: is_in_last_task(runner)).runner


def is_in_last_task(runner) -> bool:
    return runner.progress.num_learned == 2 and runner.progress.steps_closed == 1 and runner.loader is not None


def stateful_objects(root: object) -> Iterator[tuple[str, object]]:
    """Yield everything with a state that attributes, containers and closures of our objects lead to."""
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [("runner", root)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen or isinstance(value, (str, int, float, torch.Tensor, type(None))):
            continue
        seen.add(id(value))
        if isinstance(value, (Stateful, torch.Generator)):
            yield path, value
        if isinstance(value, dict):
            waiting.extend((f"{path}[{key!r}]", item) for key, item in value.items())
        elif isinstance(value, (list, tuple)):
            waiting.extend((f"{path}[{number}]", item) for number, item in enumerate(value))
        elif callable(value) and getattr(value, "__closure__", None):
            waiting.extend((f"{path}()", cell.cell_contents) for cell in value.__closure__)
        elif type(value).__module__.startswith("mambrane") and not isinstance(value, nn.Module):
            names = [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]
            waiting.extend((f"{path}.{name}", getattr(value, name)) for name in names)


def subtrees(tree: Any) -> Iterator[Any]:
    yield tree
    items = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    for item in items:
        yield from subtrees(item)


def is_saved(state: Any, saved: list[Any]) -> bool:
    return any(differences(state, tree) == [] for tree in saved)


def test_everything_with_a_state_is_in_the_checkpoint(busy_runner):
    parts = parts_of(busy_runner)
    saved = list(subtrees([parts.weights, parts.states]))
    kinds = set()
    for path, value in stateful_objects(busy_runner):
        kinds.add(type(value).__name__)
        if type(value).__name__ in SAVED_IN_ANOTHER_FORM | SCAFFOLDING:
            continue
        if (type(value).__name__ == "Patience" and not value.is_on) or (path.endswith(".written") and not value.size):
            # Saved only where the run uses it.
            continue
        state = value.get_state() if isinstance(value, torch.Generator) else value.state_dict()
        assert is_saved(dict(state) if isinstance(value, nn.Module) else state, saved), f"{path} is not saved"
    assert kinds >= {"Runner", "ForgettingMatrix", "SequenceLoader", "Replay", "Regularizer", "MetaPlasticity", "Stdp"}
    assert "Distillation" in kinds
    assert kinds >= {"LanguageModel", "GradScaler", "Schedule", "Counters", "LossWatch", "Generator", "ReplayBuffer"}
    assert kinds >= {*SAVED_IN_ANOTHER_FORM, *SCAFFOLDING}


def under_earlier_names(parts):
    """Return the parts of a checkpoint as a version before 2026-11-28 named them."""
    parts = copy.deepcopy(dict(parts))
    for (*path, earlier), present in STATE:
        place = parts
        for name in path:
            place = place[name]
        place[earlier] = place.pop(present)
    return parts


@pytest.mark.parametrize("names", ["present", "earlier"])
def test_everything_that_is_saved_comes_back(busy_runner, tmp_path, names):
    expected = whole_state(busy_runner)
    runner = build_runner(
        CONFIG,
        build_stream(domains_of(7, 7, 7), CONFIG.continual, CONFIG.run.epochs),
        build_model(CONFIG, VOCAB_SIZE),
        RunFolder(tmp_path),
        device=CPU,
        events=EventLog(),
        should_stop=lambda: False,
        saver=BackgroundSaver(Checkpoints(tmp_path / "none", keep=2, events=EventLog())),
    )
    checkpoint = Checkpoints(tmp_path / "checkpoints", keep=2, events=EventLog()).load_newest()
    before = whole_state(runner)
    changed = {name for name in expected if differences(expected[name], before[name])}
    assert changed >= {
        "weights",
        "optimizer",
        "extensions",
        "runner",
        "counters",
        "precision",
        "schedule",
        "loss_watch",
    }
    if names == "earlier":
        checkpoint = replace(checkpoint, parts=under_earlier_names(checkpoint.parts))
    restore(runner, checkpoint)
    found = differences(expected, whole_state(runner))
    # The checker of type hints, at work in tests only, draws from Python's own generator.
    assert [path for path in found if not path.startswith("state.random.python")] == []
