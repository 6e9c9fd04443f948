"""What tasks.json says of a task that is learned, planned, or taken back."""

import pytest

from mambrane.continual.config import ContinualConfig
from mambrane.continual.stream import build_stream
from mambrane.continual.task_records import attempt_record, task_records
from mambrane.continual.terms import Verdict
from tests.continual.matrices import FORGETS, filled


@pytest.fixture
def stream(domains):
    return build_stream(domains, ContinualConfig(continual_learning=True, num_tasks=3), 3)


def test_a_learned_task_says_what_it_cost_and_gained_and_a_planned_one_does_not(stream):
    matrix = filled(FORGETS, ("rising", "falling", "jumping"))
    first, second, third = task_records(stream, matrix, 2, [11])
    assert (first["name"], first["is_learned"], first["steps"], first["gain"]) == ("rising", True, 11, 6.0)
    assert (second["forgetting"], second["gain"], second["steps"]) == (1.0, 6.0, None)
    assert not third["is_learned"]
    assert not third.keys() & {"steps", "forgetting", "gain"}
    assert third["content_hashes"] == ["jumping"]


def test_an_attempt_keeps_the_verdict_and_each_domain_before_and_after(stream):
    matrix = filled(FORGETS, ("rising", "falling", "jumping"))
    record = attempt_record(stream, matrix, Verdict(False, 1.0, 6.0, "it forgets"), 1, 7)
    assert (record["name"], record["after_tasks"], record["steps"], record["reason"]) == ("falling", 1, 7, "it forgets")
    assert record["before"] == {"rising": 2.0, "falling": 7.0, "jumping": 9.0}
    assert record["after"] == {"rising": 3.0, "falling": 1.0, "jumping": 6.0}
