"""A run that was trained before: the answer is on standard output, what is to be said beside it on standard error."""

import shutil

import pytest

from mambrane.app.cli import main
from mambrane.core.events import EventLog
from mambrane.run.run import Run
from mambrane.run.saved import open_run
from mambrane.storage.checkpoint import Checkpoints
from tests.contract.main_job import train as train_in_another_process
from tests.contract.main_job import write_domains

SHORT = ("--num-tasks", "2", "--epochs", "2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run with averaged weights, and what it printed."""
    folder = tmp_path_factory.mktemp("saved-run")
    data = write_domains(folder / "texts")
    result = train_in_another_process(data, folder / "run", *SHORT)
    assert result.returncode == 0, result.stderr
    return folder / "run", result.stdout


@pytest.fixture
def run(made, monkeypatch):
    monkeypatch.setenv("MAMBRANE_CACHE", str(made[0].parent / "cache"))
    monkeypatch.setenv("COLUMNS", "160")
    return made[0]


@pytest.fixture
def own_text(run, tmp_path):
    """A folder with a copy of the run, and a copy of its text that may be changed."""
    shutil.copytree(run, tmp_path / "run")
    # As a run that may not keep text, so that it is looked for elsewhere.
    shutil.rmtree(tmp_path / "run" / "heldout")
    shutil.copytree(run.parent / "texts", tmp_path / "texts")
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace(str(run.parent / "texts"), str(tmp_path / "texts")))
    return tmp_path


def weights_of(run, name):
    checkpoint = Checkpoints(run / "checkpoints", keep=2, events=EventLog()).load_newest()
    return checkpoint.weights[name]


def test_the_weights_are_those_that_the_run_measured_itself_with_and_are_named(run, capsys):
    saved = open_run(run)
    average = weights_of(run, "ema")
    assert all((weight == average[name]).all() for name, weight in saved.model.named_parameters())
    assert main(["evaluate", str(run)]) == 0
    assert "averaged weights" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--weights", "model"]) == 0
    assert "trained weights" in capsys.readouterr().out


def test_the_model_reads_without_dropout_before_and_after_anything_is_written(run):
    opened = Run.open(run)
    assert opened.config.model.dropout > 0
    for _ in range(2):
        assert not any(module.training for module in opened.model.modules())
        opened.generate("domain", max_tokens=4, seed=0)


def test_evaluating_gives_the_last_row_of_the_matrix(run, made, capsys):
    assert main(["evaluate", str(run)]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["domain0"])
    (cell,) = (line for line in made[1].splitlines() if "after 2 tasks: held-out domain0" in line)
    assert row.split()[1] == cell.split("domain0 ")[1].split()[0]


def test_the_samples_and_the_report_name_the_weights(run, made, tmp_path):
    assert "What the model writes (temperature 0.6, seed 0, averaged weights)" in made[1]
    page = tmp_path / "page.html"
    assert main(["report", str(run), "--output", str(page)]) == 0
    assert "those of the averaged weights" in page.read_text()
    assert "temperature 0.6, seed 0, averaged weights" in page.read_text()


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_changed_text_and_skipped_files_are_told_on_standard_error(own_text, capsys, command):
    assert main([command, str(own_text / "run")]) == 0
    assert capsys.readouterr().err == ""
    (own_text / "texts" / "domain1.txt").write_text("something else\n" * 200)
    (own_text / "texts" / "picture.png").write_bytes(b"png")
    assert main([command, str(own_text / "run")]) == 0
    told = capsys.readouterr()
    assert "the text of domain1 changed since the run was saved: what is held out now may have been trained" in told.err
    assert "picture.png passed over: unknown suffix" in told.err
    assert "changed since" not in told.out


def test_text_that_was_moved_is_found_in_the_cache_by_its_hash(own_text, capsys):
    assert main(["evaluate", str(own_text / "run")]) == 0
    before = capsys.readouterr().out
    (own_text / "texts").rename(own_text / "elsewhere")
    assert main(["evaluate", str(own_text / "run")]) == 0
    told = capsys.readouterr()
    assert "texts: does not exist; the run's own text is taken from the cache" in told.err
    for domain in ("domain0", "domain1"):
        rows = [next(line for line in out.splitlines() if domain in line) for out in (before, told.out)]
        assert rows[0] == rows[1]


def test_text_that_is_nowhere_is_a_clear_error(own_text, capsys, monkeypatch):
    (own_text / "texts").rename(own_text / "elsewhere")
    monkeypatch.setenv("MAMBRANE_CACHE", str(own_text / "empty-cache"))
    assert main(["evaluate", str(own_text / "run")]) == 2
    told = capsys.readouterr().err
    assert "texts: does not exist" in told
    assert "run the train command again with the place where it lies now" in " ".join(told.split())
    assert main(["evaluate", str(own_text / "run"), "--data", str(own_text / "elsewhere")]) == 0


def test_other_text_than_the_runs_own_is_not_compared(own_text, capsys):
    assert main(["evaluate", str(own_text / "run"), "--data", str(own_text / "texts" / "domain3.txt")]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["evaluate", "generate", "report", "info"])
@pytest.mark.parametrize("content", [None, '{"kind": "subword", "name": "bpe:300", "tok', "[]", '{"kind": "subword"}'])
def test_a_tokenizer_that_is_missing_or_cut_is_refused_by_name(own_text, capsys, command, content):
    file = own_text / "run" / "tokenizer.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    assert main([command, str(own_text / "run")]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "tokenizer.json: cannot be read" in told
    assert "way out: restore the file" in told


def test_training_on_refuses_a_cut_tokenizer_and_makes_a_missing_one_anew(own_text, capsys):
    file = own_text / "run" / "tokenizer.json"
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    words = ["train", "--config", str(own_text / "run" / "config.json"), "--output-dir", str(own_text / "run")]
    assert main(words) == 2
    assert "tokenizer.json: cannot be read" in " ".join(capsys.readouterr().err.split())
    file.unlink()
    assert main(words) == 0
    assert file.read_text() == whole


@pytest.mark.parametrize("command", ["evaluate", "generate", "report", "info"])
def test_the_kernels_are_compiled_before_the_model_runs_and_announced_on_standard_error(
    run, capsys, command, monkeypatch
):
    asked = []

    def compile_kernels(announce, operations):
        announce("compiling CPU kernels")
        asked.extend(operations)

    monkeypatch.setattr("mambrane.run.kernels.compile_kernels", compile_kernels)
    assert main([command, str(run)]) == 0
    told = capsys.readouterr()
    assert "compiling CPU kernels" in told.err
    assert "compiling" not in told.out
    assert {"lif", "causal_trace", "selective_scan", "windowed_attention"} <= set(asked)


@pytest.mark.parametrize("command", ["evaluate", "generate", "report", "info"])
def test_an_interrupt_ends_the_command_in_one_line(run, capsys, command, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("mambrane.run.run.open_run", interrupted)
    assert main([command, str(run)]) == 130
    assert capsys.readouterr().err == "interrupted\n"
