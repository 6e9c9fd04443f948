"""What the log says of the model itself."""

from mambrane.core.events import read_events
from mambrane.run.run import Run
from mambrane.storage.run_folder import RunFolder


def told(folder, kind):
    return [event for event in read_events(RunFolder(folder).events_file) if event["event"] == kind]


def test_weights_are_measured_before_the_first_step_and_after_each_task(hybrid_run):
    measured = told(hybrid_run, "weights_measured")
    steps = [event["step"] for event in measured]
    assert steps[0] == 0
    assert steps == sorted(set(steps))
    assert len(steps) == 3
    plastic = [name for name in measured[0]["weights"] if name.endswith("plastic.weight")]
    assert plastic
    first, last = (event["weights"][plastic[0]]["counts"] for event in (measured[0], measured[-1]))
    assert first != last
    assert sum(first) == sum(last)


def test_the_log_ends_with_the_samples_that_the_run_gives_when_it_is_asked(hybrid_run):
    logged = told(hybrid_run, "sample")
    given = Run.open(hybrid_run).samples()
    assert [(event["prompt"], event["continuation"]) for event in logged] == [each[:2] for each in given]
    assert [event["domain"] for event in logged] == ["domain0", "domain1"]
