"""The console shows a run on a terminal and in a log file."""

import io
import re

import pytest

from mambrane.continual.matrix import ForgettingMatrix
from tests.measured import Loss
from tests.watch.shown import lines_with, shown, step_event, task_started


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self):
        return True


NUMBERS = [
    {"name": "activity/firing_rate", "title": "firing rate, spikes per neuron and tick", "headline": "firing {}"},
    {"name": "replay/fraction", "title": "part of the rows that is replayed", "headline": "{} replayed text"},
]
TWO_AND_A_HALF = {"measure": "bits_per_byte", "unit": "bits/byte", "bits_per_byte": 2.5, "perplexity": 5.657}


def matrix_event():
    matrix = ForgettingMatrix(["python", "prose"], num_tasks=2)
    for row, losses in enumerate([(8.0, 8.0), (3.0, 6.0), (4.0, 2.0)]):
        for column, bits in enumerate(losses):
            matrix.record(row, column, Loss(bits_per_byte=bits, perplexity=2**bits))
    return {"time_s": 1100.0, "event": "matrix", **matrix.state_dict()}


def test_a_step_line_gives_every_number_with_its_unit():
    run = {"time_s": 999.0, "event": "run_started", "num_tasks": 5, "parameters": 872340, "shown_numbers": NUMBERS}
    line = lines_with("loss", shown([run, task_started(), step_event(1)]))[0]
    assert re.match(r"\d\d:\d\d:\d\d  task 1/5 python  epoch 1/6  step  1/30  training loss 5.77 bits/byte", line)
    for words in ("1,024 tokens/s", "firing 12.1 %", "gradient 0.831", "lr 0.00092"):
        assert words in line
    # 29 steps here and 4 tasks of 30 steps after it, two seconds each.
    assert line.endswith("4 min 58 s left")


def test_the_time_left_counts_the_steps_of_every_task():
    run = {"time_s": 999.0, "event": "run_started", "num_tasks": 3, "total_steps": 100}
    # After a resume, in the second task: 20 steps lie before it, 5 of its 30 are done; two seconds each.
    events = [run, task_started(task=1, steps_before=20, steps_done=4), step_event(25)]
    line = lines_with("loss", shown(events))[0]
    assert "step  5/30" in line
    assert line.endswith("2 min 30 s left")


def test_numbers_that_say_nothing_are_left_out():
    line = lines_with("loss", shown([task_started(), step_event(1, numbers={})]))[0]
    for word in ("firing", "scale", "replayed", "skipped"):
        assert word not in line


def test_a_log_file_gets_a_line_every_ten_seconds_and_the_last_step():
    text = shown([task_started(), *(step_event(step) for step in range(1, 31))])
    assert re.findall(r"step +(\d+)/30", text) == ["1", "11", "21", "30"]


def test_a_log_file_holds_plain_text_only():
    text = shown(
        [task_started(), step_event(1), matrix_event(), {"time_s": 1101.0, "event": "run_finished", "step": 30}]
    )
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_terminal_draws_in_place_and_leaves_no_step_lines():
    text = shown([task_started(), step_event(1), step_event(2)], Terminal())
    assert "\x1b" in text
    assert not re.search(r"\d\d:\d\d:\d\d  .*loss", text)


def test_an_evaluation_says_when_what_and_how_good():
    events = [
        {
            "time_s": 1.0,
            "event": "evaluation",
            "row": row,
            "domain": "prose",
            "measure": "bits_per_byte",
            "unit": "bits/byte",
            "bits_per_byte": 2.5,
            "perplexity": 5.657,
        }
        for row in (0, 2)
    ]
    text = shown(events)
    assert "before training: held-out prose 2.500 bits/byte" in text
    assert "after 2 tasks: held-out prose" in text


def test_a_finished_run_ends_with_its_matrix_and_metrics():
    text = shown([matrix_event(), {"time_s": 1101.0, "event": "run_finished", "step": 30}])
    assert "finished after 30 steps" in text
    assert lines_with("2 prose", text)[0].split() == ["2", "prose", "4.000", "2.000"]
    assert "forgetting" in text
    assert "1.000 bits/byte" in lines_with("forgetting (0 is none)", text)[0]
    assert "20.0 %" in lines_with("part of the gain that was lost", text)[0]


def test_a_skipped_step_says_why():
    event = {"time_s": 1.0, "event": "step_skipped", "number": 1204, "reason": "blocks.0.input.weight is inf"}
    assert "step 1,204 skipped: blocks.0.input.weight is inf" in shown([event])


def test_a_checkpoint_says_how_large_it_is():
    event = {"time_s": 1.0, "event": "checkpoint_saved", "step": 40, "num_bytes": 3_400_000, "path": "x"}
    assert "checkpoint after step 40 saved (3.4 MB)" in shown([event])


def test_an_epoch_ends_with_its_mean_loss():
    finished = {"time_s": 1.0, "event": "epoch_finished", "task": 0, "epoch": 1, "loss": 2.125}
    assert "task 1/1 python  epoch 2/6 finished  mean loss 2.125 nats/token" in shown([task_started(), finished])


def test_a_domain_says_how_much_text_it_holds():
    event = {"time_s": 1.0, "event": "domain", "name": "prose", "train_bytes": 80_000, "heldout_bytes": 8192}
    event["bytes_there"] = 10_400_000
    assert "domain prose: 80.0 kB to learn, 8.2 kB held out, of 10.4 MB" in shown([event])


def test_operations_are_grouped_by_what_computes_them():
    event = {
        "time_s": 1.0,
        "event": "operations",
        "lif": "numba (CPU)",
        "cfc": "reference (bf16)",
        "scan": "numba (CPU)",
    }
    text = shown([event])
    assert "operations lif, scan: numba (CPU)" in text
    assert "operations cfc: reference (bf16)" in text


def test_a_warning_reads_as_one():
    assert "warning: no effect" in shown([{"time_s": 1.0, "event": "warning", "message": "no effect"}])


def test_compiling_is_announced_in_plain_words():
    events = [{"time_s": 1.0, "event": "compiling", "message": "compiling CPU kernels, once on this machine"}]
    (line,) = lines_with("kernels", shown(events))
    assert line.endswith("compiling CPU kernels, once on this machine")
    assert "message=" not in line


def test_a_stopped_run_shows_the_matrix_so_far():
    text = shown([matrix_event(), {"time_s": 1.0, "event": "stopped", "reason": "--max-steps 60 reached"}])
    assert lines_with("1 python", text)


def test_a_stop_says_why():
    text = shown([{"time_s": 1.0, "event": "stopped", "reason": "SIGTERM", "step": 7}])
    assert "stopped: SIGTERM; the same command goes on from here" in text


def test_an_event_without_words_stays_in_the_log():
    event = {"time_s": 1.0, "event": "kernel_chosen", "op": "lif", "why": ["float32", "cpu"], "score": 0.25}
    assert shown([event]) == ""


@pytest.mark.parametrize("text", ["[bold]", ":smile:", "http://x/[0]"])
def test_text_from_outside_is_shown_as_it_is(text):
    assert text in shown([{"time_s": 1.0, "event": "note", "message": text}])


def test_the_switches_are_one_line():
    event = {"time_s": 1.0, "event": "switches", "on": ["Mamba 1", "replay"], "off": ["distillation"]}
    (line,) = shown([event]).splitlines()
    assert line.endswith("on: Mamba 1, replay; off: distillation")


@pytest.mark.parametrize(("seconds", "is_long"), [(600.0, False), (40_000.0, True)])
def test_the_expected_time_is_told_and_a_long_one_names_smaller_presets(seconds, is_long):
    event = {"time_s": 1.0, "event": "expected_time", "seconds": seconds, "steps_left": 1200}
    text = shown([{**event, "smaller_presets": ["small", "tiny"]}])
    assert "for 1,200 steps" in text
    assert ("--preset small or --preset tiny" in text) == is_long
    assert "--preset" not in shown([{**event, "smaller_presets": []}])


def test_a_learned_task_shows_training_and_held_out_loss_and_what_the_batches_held():
    events = [task_started(), step_event(1, bits_per_byte=1.26, numbers={"replay/fraction": 0.5}), matrix_event()]
    (line,) = lines_with("learned", shown(events))
    assert "training 1.26 bits/byte (batches with 50.0 % replayed text), held-out 3.00 bits/byte" in line
