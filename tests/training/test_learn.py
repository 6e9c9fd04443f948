"""A run is taught more text, behind all that it has learned: kept, or taken back bit for bit."""

import json
import re
import shutil
from pathlib import Path

import pytest

import mambrane
from mambrane.app.cli import main
from mambrane.continual.terms import Terms
from mambrane.core.errors import UserError
from mambrane.core.events import EventLog, read_events
from mambrane.settings.later_task import LATER_TASK
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.checkpoint_files import Checkpoint
from tests.contract.main_job import newest_weights, train_words, write_domains
from tests.trained import train_small

SHORT = ("--num-tasks", "2", "--epochs", "2")
STEPS_AT_START = 15
RECIPE_RATE = {"engine.learning_rate": 0.004 * LATER_TASK.learning_rate_factor}
RECIPE = {
    **RECIPE_RATE,
    "continual.replay_fraction": LATER_TASK.replay_fraction,
    "plasticity.use_meta_plasticity": False,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a finished run over two of five texts; the text that it learned is gone, and so is its cache."""
    folder = tmp_path_factory.mktemp("learn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAMBRANE_CACHE", str(folder / "first-cache"))
        texts = write_domains(folder / "texts")
        (folder / "old").mkdir()
        for name in ("domain0.txt", "domain1.txt"):
            (texts / name).rename(folder / "old" / name)
        assert main(train_words(folder / "old", folder / "run", *SHORT)[2:]) == 0
    shutil.rmtree(folder / "old")
    shutil.rmtree(folder / "first-cache")
    return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch) -> Path:
    """A copy of the run, in another place."""
    monkeypatch.setenv("MAMBRANE_CACHE", str(made / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    shutil.copytree(made / "run", tmp_path / "moved")
    return tmp_path / "moved"


@pytest.fixture(scope="module")
def taught(made, tmp_path_factory) -> Path:
    """The run after one more text, learned without a stop."""
    folder = tmp_path_factory.mktemp("taught") / "run"
    shutil.copytree(made / "run", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAMBRANE_CACHE", str(made / "cache"))
        assert learn(folder, made / "texts" / "domain2.txt") == 0
    return folder


def learn(run: Path, *words: object) -> int:
    return main(["learn", str(run), "--data", *map(str, words)])


def parts_of(run: Path) -> dict[str, bytes]:
    """Return every file of the newest checkpoint but the runner's part and the manifest that counts it."""
    newest = max(path for path in (run / "checkpoints").iterdir() if path.name[5:].isdigit())
    files = {path.name: path.read_bytes() for path in newest.iterdir()}
    return {name: content for name, content in files.items() if not name.startswith(("runner", "manifest"))}


def learned_parts(run: Path) -> dict[str, bytes]:
    """Return those of weights, optimizer and methods; the checker of types in tests draws from Python's generator."""
    return {name: content for name, content in parts_of(run).items() if not name.startswith("trainer")}


def kinds_of(run: Path) -> list[str]:
    return [event["event"] for event in read_events(run / "events.jsonl")]


def test_info_counts_the_tasks_that_were_added(made, taught, capsys):
    for run, num_tasks in ((made / "run", 2), (taught, 3)):
        assert main(["info", str(run)]) == 0
        assert f"continual learning ({num_tasks} tasks)" in capsys.readouterr().out


def test_a_text_is_learned_when_the_older_text_is_gone_and_the_matrix_grows_a_row_and_a_column(made, taught):
    before, after = (mambrane.Run.open(folder).matrix for folder in (made / "run", taught))
    assert after.domains == (*before.domains, "domain2")
    assert [row[:2] for row in after.values[:3]] == before.values
    assert all(cell is not None for cell in after.values[3])
    # The new column: the untrained model, nobody at first, the model before its task.
    untrained, at_first, before_task = (row[2] for row in after.values[:3])
    assert at_first is None
    assert untrained > before_task > after.values[3][2]
    assert all(metric.value is not None for metric in after.metrics().values())
    learned = mambrane.Run.open(taught).tasks.tasks[2]
    assert (learned["name"], learned["is_learned"]) == ("domain2", True)
    assert learned["gain"] == pytest.approx(before_task - after.values[3][2])


def test_where_no_flag_says_otherwise_a_task_has_the_recipe_of_later_tasks_and_says_so(made, taught):
    task = mambrane.Run.open(taught).tasks.tasks[2]
    assert task["num_epochs"] == LATER_TASK.epochs_factor
    assert task["settings"] == RECIPE
    (said,) = [event["message"] for event in read_events(taught / "events.jsonl") if event["event"] == "later_task"]
    assert f"{LATER_TASK.epochs_factor} epochs a text, where a task of the beginning had 1" in said
    assert "no meta-plasticity" in said
    assert mambrane.Run.open(taught).config == mambrane.Run.open(made / "run").config


def test_a_flag_wins_over_the_recipe_and_leaves_the_rest_of_it(made, run):
    flags = ("--epochs", "1", "--replay-fraction", "0.25", "--use-meta-plasticity")
    assert learn(run, made / "texts" / "domain2.txt", *flags) == 0
    task = mambrane.Run.open(run).tasks.tasks[2]
    assert task["num_epochs"] == 1
    assert task["settings"] == {**RECIPE_RATE, "continual.replay_fraction": 0.25}


def test_replay_memory_importance_teacher_rates_and_average_go_on(made, taught):
    before, after = (newest_state(folder) for folder in (made / "run", taught))
    assert set(before["replay"]["buffer"]["tasks"].tolist()) == {0, 1}
    assert set(after["replay"]["buffer"]["tasks"].tolist()) == {0, 1, 2}
    assert after["regularizer"]["importance"].keys() == before["regularizer"]["importance"].keys()
    replayed = [e["numbers"]["replay/fraction"] for e in read_events(taught / "events.jsonl") if e["event"] == "step"]
    assert min(replayed[STEPS_AT_START:]) > 0
    rates = [e["learning_rate"] for e in read_events(taught / "events.jsonl") if e["event"] == "step"]
    assert rates[STEPS_AT_START] > 2 * rates[STEPS_AT_START - 1]


def newest_state(run: Path) -> dict:
    return newest_checkpoint(run).parts["extensions"]


def newest_checkpoint(run: Path) -> Checkpoint:
    return Checkpoints(run / "checkpoints", keep=2, events=EventLog()).load_newest()


def test_a_run_that_was_taught_evaluates_reports_and_resumes_without_any_of_its_text(
    taught, tmp_path, monkeypatch, capsys
):
    shutil.copytree(taught, tmp_path / "moved")
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "no-cache"))
    monkeypatch.setenv("COLUMNS", "160")
    last_row = mambrane.Run.open(taught).matrix.values[-1]
    losses = mambrane.Run.open(tmp_path / "moved").evaluate()
    assert [loss.value for loss in losses.values()] == last_row
    assert main(["report", str(tmp_path / "moved")]) == 0
    assert main(["info", str(tmp_path / "moved")]) == 0
    assert capsys.readouterr().err == ""


def test_the_same_text_is_known_by_its_content_not_by_its_path(made, taught, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(made / "texts" / "domain2.txt", tmp_path / "elsewhere" / "another name.txt")
    before = newest_weights(taught)
    assert learn(taught, tmp_path / "elsewhere") == 0
    assert "the text of another name is learned already, as domain2" in " ".join(capsys.readouterr().out.split())
    assert newest_weights(taught) == before
    # Terms say whether a task is kept: what is kept is not learned again for them.
    assert learn(taught, tmp_path / "elsewhere", "--max-forgetting", "1", "--epochs", LATER_TASK.epochs_factor) == 0
    assert newest_weights(taught) == before


def test_a_lesson_that_was_stopped_is_resumed_by_the_same_words_and_ends_bit_for_bit_the_same(made, run, taught):
    text = made / "texts" / "domain2.txt"
    for limit in (2, 6):
        assert learn(run, text, "--max-steps", STEPS_AT_START + limit) == 0
        assert newest_weights(run)["step"] == f"step-{STEPS_AT_START + limit:08d}".encode()
    assert learn(run, text) == 0
    assert newest_weights(run) == newest_weights(taught)
    assert parts_of(run).keys() == parts_of(taught).keys()
    assert mambrane.Run.open(run).matrix.state_dict() == mambrane.Run.open(taught).matrix.state_dict()


def test_a_memory_of_a_share_counts_text_that_is_gone_and_a_stop_does_not_change_it(made, run, tmp_path):
    words = (made / "texts" / "domain2.txt", "--replay-share", "0.5", "--epochs", "1")
    stopped = shutil.copytree(run, tmp_path / "stopped")
    assert learn(run, *words) == 0
    state = newest_checkpoint(run).parts["runner"]
    assert state["train_tokens"].keys() == {"domain0", "domain1", "domain2"}
    # Each text is shorter than an epoch, so that all of it is read.
    sequence_length = mambrane.Run.open(run).config.data.sequence_length
    assert state["replay_buffer_size"] == round(0.5 * sum(state["train_tokens"].values()) / sequence_length)
    assert state["replay_buffer_size"] > 0.6 * state["train_tokens"]["domain2"] / sequence_length
    assert learn(stopped, *words, "--max-steps", STEPS_AT_START + 2) == 0
    assert learn(stopped, *words) == 0
    assert newest_weights(stopped) == newest_weights(run)
    extensions = [name for name in parts_of(run) if name.startswith("extensions")]
    assert {name: parts_of(stopped)[name] for name in extensions} == {name: parts_of(run)[name] for name in extensions}


def test_an_interrupted_lesson_does_not_go_on_with_other_settings(made, run, capsys):
    text = made / "texts" / "domain2.txt"
    assert learn(run, text, "--max-steps", STEPS_AT_START + 2) == 0
    assert learn(run, text, "--learning-rate", "0.001", "--epochs", "2") == 2
    told = capsys.readouterr().err
    assert "in the midst of learning domain2 otherwise" in told
    assert f"engine.learning_rate: {RECIPE['engine.learning_rate']} -> 0.001" in told
    assert f"run.epochs: {LATER_TASK.epochs_factor} -> 2" in told


def test_an_interrupted_task_is_finished_before_another_text_is_learned(made, run):
    texts = made / "texts"
    assert learn(run, texts / "domain2.txt", "--max-steps", STEPS_AT_START + 2, "--epochs", "1") == 0
    assert learn(run, texts / "domain3.txt", "--epochs", "1") == 0
    assert mambrane.Run.open(run).matrix.domains == ("domain0", "domain1", "domain2", "domain3")


def test_an_interrupted_task_that_is_finished_first_and_taken_back_is_told_beside_the_one_that_is_kept(
    made, run, capsys
):
    texts, terms = made / "texts", ("--min-gain", "5", "--epochs", "1")
    assert learn(run, texts / "domain2.txt", "--max-steps", STEPS_AT_START + 2, *terms) == 0
    capsys.readouterr()
    assert learn(run, texts / "domain3.txt", "--epochs", "1") == 3
    assert "domain2 is taken back: it gained" in " ".join(capsys.readouterr().out.split())
    assert mambrane.Run.open(run).matrix.domains == ("domain0", "domain1", "domain3")


def test_a_task_that_gains_too_little_is_taken_back_bit_for_bit_and_is_told(made, run, capsys):
    text = made / "texts" / "domain2.txt"
    before, matrix = parts_of(run), mambrane.Run.open(run).matrix.state_dict()
    assert learn(run, text, "--min-gain", "5", "--epochs", "1", "--save-every", "2", "--keep-checkpoints", "2") == 3
    assert parts_of(run) == before
    assert mambrane.Run.open(run).matrix.state_dict() == matrix
    assert kinds_of(run).count("task_taken_back") == 1
    assert "less than --min-gain 5" in capsys.readouterr().out
    (attempt,) = mambrane.Run.open(run).tasks.attempts
    assert attempt["name"] == "domain2"
    assert attempt["after"].keys() == {"domain0", "domain1", "domain2"}
    assert main(["report", str(run)]) == 0
    assert "Learned and taken back: domain2" in (run / "report.html").read_text()
    capsys.readouterr()
    # The same words train nothing, other terms try again.
    num_steps = kinds_of(run).count("step")
    assert learn(run, text, "--min-gain", "5", "--epochs", "1") == 3
    assert "was learned before and taken back: it gained" in " ".join(capsys.readouterr().out.split())
    assert kinds_of(run).count("step") == num_steps
    assert learn(run, text, "--min-gain", "0", "--epochs", "1") == 0
    assert mambrane.Run.open(run).matrix.domains == ("domain0", "domain1", "domain2")


def test_a_lesson_after_one_that_was_taken_back_is_as_if_that_had_never_been(made, run, taught):
    texts = made / "texts"
    assert learn(run, texts / "domain4.txt", "--min-gain", "5", "--epochs", "1") == 3
    assert learn(run, texts / "domain2.txt") == 0
    assert newest_weights(run) == newest_weights(taught)


def test_of_two_texts_each_is_taken_back_by_itself(made, run, tmp_path):
    (tmp_path / "two").mkdir()
    for name in ("domain2.txt", "domain3.txt"):
        shutil.copy(made / "texts" / name, tmp_path / "two" / name)
    before, matrix = parts_of(run), mambrane.Run.open(run).matrix.state_dict()
    learned = mambrane.learn(run, tmp_path / "two", min_gain=5.0, epochs=2)
    assert learned.outcome.taken_back == ("domain2", "domain3")
    assert parts_of(run) == before
    assert learned.matrix.state_dict() == matrix


def test_methods_that_begin_with_a_text_that_is_taken_back_begin_anew_with_the_next_killed_or_not(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "first").mkdir()
    run = train_small(tmp_path / "first", "--no-use-replay", "--no-use-cross-attention")
    settings = {"use_replay": True, "regularizer_strength": 1.0, "reptile_strength": 0.5, "reptile_interval": 2}
    assert {"replay", "regularizer", "reptile"}.isdisjoint(newest_state(run))
    alone, killed, texts = tmp_path / "alone", tmp_path / "killed", tmp_path / "two"
    texts.mkdir()
    for name in ("domain2.txt", "domain3.txt"):
        shutil.copy(run.parent / "texts" / name, texts / name)
    shutil.copytree(run, alone)
    mambrane.learn(alone, texts / "domain3.txt", min_gain=0.0, epochs=1, **settings)

    judge = Terms.verdict

    def refuse_domain2(terms, matrix, task):
        learned = [matrix.domains[column] for column in matrix.task_columns[task]]
        return judge(terms, matrix, task)._replace(is_kept=learned != ["domain2"], reason="asked for by the test")

    def copy_when_taken_back(event):
        if event["event"] == "task_taken_back":
            shutil.copytree(run, killed)

    monkeypatch.setattr(Terms, "verdict", refuse_domain2)
    learned = mambrane.learn(run, texts, min_gain=0.0, epochs=2, listeners=[copy_when_taken_back], **settings)
    assert learned.outcome.taken_back == ("domain2",)
    assert learned_parts(run) == learned_parts(alone)
    resumed = mambrane.learn(killed, texts, min_gain=0.0, epochs=2, **settings)
    assert resumed.outcome.is_finished
    assert learned_parts(killed) == learned_parts(alone)


def test_methods_come_go_and_come_back_from_task_to_task(made, run):
    texts = made / "texts"
    options = {"distillation_strength": 0.0, "use_replay": False, "epochs": 1}
    assert mambrane.learn(run, texts / "domain2.txt", **options).outcome.is_finished
    state = newest_state(run)
    assert {"replay", "distillation"}.isdisjoint(state)
    learned = mambrane.learn(run, texts / "domain3.txt", regularizer="si", replay_buffer_size=8, epochs=1)
    assert learned.outcome.is_finished
    state = newest_state(run)
    assert {"replay", "distillation"} <= state.keys()
    # Of the task without replay nothing is remembered, of those before it is.
    assert set(state["replay"]["buffer"]["tasks"].tolist()) == {0, 1, 3}
    assert len(state["replay"]["buffer"]["tasks"]) == 8
    tasks = learned.tasks.tasks
    assert tasks[2]["settings"] == {"continual.use_replay": False, "continual.distillation_strength": 0.0}
    assert tasks[3]["settings"] == {**RECIPE, "continual.regularizer": "si", "continual.replay_buffer_size": 8}


@pytest.mark.parametrize(
    ("setting", "difference"),
    [
        ({"hidden_dim": 64}, "model.hidden_dim: 32 -> 64"),
        ({"sequence_length": 16}, "data.sequence_length: 32 -> 16"),
        ({"tokenizer": "bpe:300"}, "data.tokenizer: bytes -> bpe:300"),
        ({"seed": 3}, "run.seed: 0 -> 3"),
        ({"ema_decay": 0.0}, "engine.ema_decay: 0.9 -> 0.0"),
        ({"num_tasks": 3}, "continual.num_tasks: 2 -> 3"),
        ({"epochs": 0}, "--epochs 0"),
        ({"no_such_thing": 3}, "no setting 'no_such_thing'"),
    ],
)
def test_what_cannot_change_is_refused_with_the_difference_and_nothing_is_written(made, run, setting, difference):
    before = {path: path.read_bytes() for path in run.rglob("*.json")}
    with pytest.raises(UserError, match=re.escape(difference)):
        mambrane.learn(run, made / "texts" / "domain2.txt", **setting)
    assert {path: path.read_bytes() for path in run.rglob("*.json") if path in before} == before


def test_the_same_text_with_more_epochs_is_learned_again_as_a_row_without_a_column(made, run, taught):
    shutil.rmtree(run)
    shutil.copytree(taught, run)
    learned = mambrane.learn(run, made / "texts" / "domain2.txt", epochs=1)
    assert learned.matrix.domains == ("domain0", "domain1", "domain2")
    assert learned.matrix.num_tasks == 4
    assert [task["visit"] for task in learned.tasks.tasks] == [0, 0, 0, 1]
    assert all(cell is not None for cell in learned.matrix.values[-1])


def test_a_new_text_of_a_known_name_gets_a_number(made, run, tmp_path):
    (tmp_path / "domain0.txt").write_text("other words than those of the first month\n" * 60)
    assert mambrane.learn(run, tmp_path / "domain0.txt", epochs=1).matrix.domains == ("domain0", "domain1", "domain0-2")


def test_a_run_that_kept_no_text_learns_and_leaves_the_cells_of_older_text_empty_with_a_reason(made, run):
    shutil.rmtree(run / "heldout")
    with pytest.raises(UserError, match="cannot be judged on domain0: its held-out text was not kept and is gone"):
        mambrane.learn(run, made / "texts" / "domain2.txt", max_forgetting=0.1)
    matrix = mambrane.learn(run, made / "texts" / "domain2.txt", epochs=1).matrix
    assert matrix.values[3][:2] == [None, None]
    metrics = matrix.metrics()
    assert metrics["forgetting"].reason == "domain0: its held-out text was not kept and is gone"
    # They need the rows and columns that are there.
    assert metrics["learned_average"].value is not None
    assert metrics["forward_transfer"].value is not None


def test_a_run_that_is_not_finished_is_finished_first(made, tmp_path, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    texts = write_domains(tmp_path / "texts")
    words = train_words(texts, tmp_path / "run", *SHORT, "--max-steps", "4")
    assert main(words[2:]) == 0
    # Its text is nowhere but in the cache.
    texts.rename(tmp_path / "moved")
    run = mambrane.learn(tmp_path / "run", tmp_path / "moved" / "domain2.txt", epochs=1)
    assert run.matrix.domains == ("domain0", "domain1", "domain2")
    assert run.matrix.metrics()["forgetting"].value is not None


def test_a_run_over_all_text_at_once_learns_a_task_behind_it_and_resumes_it(made, tmp_path, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(tmp_path / "cache"))
    texts = write_domains(tmp_path / "texts")
    (tmp_path / "later").mkdir()
    (texts / "domain4.txt").rename(tmp_path / "later" / "domain4.txt")
    words = (
        f"train --preset tiny --hidden-dim 32 --num-layers 1 --spiking-units 16 --sequence-length 32 --epochs 1 "
        f"--no-continual-learning --data {texts} --output-dir {tmp_path / 'run'}"
    )
    assert main(words.split()) == 0
    num_steps = kinds_of(tmp_path / "run").count("step")
    stopped = mambrane.learn(tmp_path / "run", tmp_path / "later", max_steps=num_steps + 2)
    assert not stopped.outcome.is_finished
    run = mambrane.learn(tmp_path / "run", tmp_path / "later")
    assert run.matrix.domains == tuple(f"domain{number}" for number in range(5))
    # Nothing was remembered that could be replayed: the task has the epochs that the run began with, and this is said.
    assert run.tasks.tasks[1]["num_epochs"] == 1
    warnings = [e["message"] for e in read_events(run.folder / "events.jsonl") if e["event"] == "warning"]
    assert any("nothing of the older texts is replayed" in warning for warning in warnings)
    assert [run.matrix.task_name(task) for task in range(2)] == ["joint", "domain4"]
    assert run.matrix.metrics()["forgetting"].value is not None


def test_what_is_wrong_with_the_words_is_said(made, run, tmp_path, capsys):
    assert main(["learn", str(run)]) == 2
    assert "mambrane learn without --data" in capsys.readouterr().err
    assert main(["learn", "--data", str(made)]) == 2
    assert "mambrane learn without a run" in capsys.readouterr().err
    assert learn(tmp_path / "nowhere", made / "texts") == 2
    assert "is not the folder of a run" in capsys.readouterr().err
    assert learn(run, made / "texts" / "domain2.txt", "--preset", "tiny") == 2
    assert "--preset is no flag of `mambrane learn`" in capsys.readouterr().err
    assert main(["learn", "--help"]) == 0
    assert json.loads((run / "tasks.json").read_text())["attempts"] == []
