"""Progress from events alone: speed, time left, and where in the task a run is."""

from mambrane.watch.progress import RunProgress
from tests.watch.shown import lines_with, shown, step_event, task_started


def test_the_loss_is_a_mean_over_applied_steps():
    losses = [
        step_event(1, bits_per_byte=3.0),
        step_event(2, bits_per_byte=5.0),
        step_event(2, loss="nan", state="SKIPPED"),
    ]
    events = [task_started(), *losses]
    line = lines_with("loss", shown(events, seconds_between_lines=0.0))[-1]
    assert "loss 4.00 bits/byte" in line
    assert "1 step skipped" in line


def test_after_a_resume_the_count_goes_on_where_it_was():
    events = [{"time_s": 1.0, "event": "resumed", "step": 12}, task_started(steps_done=12), step_event(13)]
    text = shown(events)
    assert "resumed after step 12" in text
    assert "step 13/30" in text


def test_the_speed_is_tokens_over_time_and_not_a_mean_of_speeds():
    steps = [step_event(1, tokens=1000, tokens_per_s=1000.0), step_event(2, tokens=1000, tokens_per_s=250.0)]
    line = lines_with("loss", shown([task_started(), *steps], seconds_between_lines=0.0))[-1]
    assert " 400 tokens/s" in line
    # 28 steps of 2.5 seconds.
    assert line.endswith("1 min 10 s left")


def test_steps_left_count_the_whole_run_where_the_log_says_how_long_it_is():
    progress = RunProgress()
    progress({"event": "run_started", "num_tasks": 3, "total_steps": 100})
    progress(task_started(task=1, steps=40, steps_before=30))
    progress(step_event(31))
    assert progress.steps_left == 100 - 30 - 1
    assert progress.done_ratio == 1 / 40


def test_steps_left_take_later_tasks_to_be_as_long_where_the_log_does_not_say():
    progress = RunProgress()
    progress({"event": "run_started", "num_tasks": 3})
    progress(task_started(task=1, steps=40))
    progress(step_event(31))
    assert progress.steps_left == 2 * 40 - 1


def test_a_step_that_does_not_say_its_speed_is_left_out_of_the_mean():
    progress = RunProgress()
    progress(task_started())
    for step in (step_event(1, tokens=1000, tokens_per_s=500.0), step_event(2, tokens=9000, tokens_per_s=None)):
        progress(step)
    assert (progress.seconds_per_step, progress.tokens_per_s) == (2.0, 500.0)


def test_before_the_first_applied_step_there_is_no_speed():
    progress = RunProgress()
    progress(task_started())
    progress(step_event(1, state="SKIPPED"))
    assert progress.seconds_per_step is progress.tokens_per_s is progress.seconds_left is None
    assert progress.num_skipped == progress.steps_closed == 1
