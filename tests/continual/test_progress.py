"""How far a run is: what a checkpoint keeps of it, of today and of earlier versions."""

from mambrane.continual.progress import Phase, Progress


def test_a_task_is_counted_and_taken_back_with_its_steps():
    progress = Progress(steps_closed=7, base_step=40)
    progress.end_task()
    assert (progress.phase, progress.num_learned, progress.steps_taken) == (Phase.EVALUATE, 1, [7])
    assert progress.take_back() == 7
    assert progress == Progress()


def test_after_the_row_of_the_last_task_nothing_is_left():
    progress = Progress(num_learned=2)
    progress.end_row(3)
    assert progress.phase is Phase.BEGIN
    progress.end_row(2)
    assert progress.phase is Phase.DONE


def test_a_state_comes_back_and_one_that_says_no_steps_gets_those_of_its_learned_tasks():
    progress = Progress(phase=Phase.TRAIN, num_learned=1, steps_closed=3, steps_taken=[5], attempts=[{"name": "a"}])
    state = progress.state_dict()
    assert Progress.of_state(state, int) == progress
    earlier = {name: state[name] for name in ("phase", "num_learned", "steps_closed")}
    assert Progress.of_state(earlier, (8, 9).__getitem__) == Progress(
        phase=Phase.TRAIN, num_learned=1, steps_closed=3, steps_taken=[8]
    )
