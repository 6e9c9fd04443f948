"""Events as sentences: every kind has one, or is known to need none."""

import io
import re
from pathlib import Path

import mambrane
from mambrane.watch.console import ConsoleListener
from mambrane.watch.event_messages import NOTES, WARNINGS, WITHOUT_MESSAGE, note_of, warning_of


def test_every_event_that_the_program_emits_has_words_or_is_known_to_need_none():
    package = Path(mambrane.__file__).parent
    source = "\n".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    kinds = set(re.findall(r"""emit\(\s*"(\w+)""", source))
    assert len(kinds) > 20
    listener = ConsoleListener(io.StringIO())
    # Fields that come from elsewhere (`**event`) have their message there.
    speaks_by_its_message = set(re.findall(r"""emit\(\s*"(\w+)"[^)]*(?:\bmessage=|\*\*)""", source))
    for kind in kinds - speaks_by_its_message:
        assert kind in listener.kinds | WARNINGS.keys() | NOTES.keys() | WITHOUT_MESSAGE, f"{kind} has no words"


def test_a_warning_names_what_it_warns_of_and_other_events_warn_of_nothing():
    event = {"event": "file_skipped", "path": "a\tb.txt", "count": 3, "reason": "it is no text"}
    assert warning_of(event) == "a    b.txt and 2 more passed over: it is no text"
    event = {"event": "classes_left_out", "data": "mnist", "classes": [8, 9], "classes_per_task": 4}
    assert warning_of(event) == "classes of mnist that no task learns: 8, 9 (--classes-per-task 4)"
    assert warning_of({"event": "step"}) is None


def test_a_kind_that_nobody_knows_speaks_by_its_message_or_not_at_all():
    assert note_of({"event": "invented", "message": "something was"}) == "something was"
    assert note_of({"event": "invented"}) is None
    assert note_of({"event": "checkpoint_loaded", "message": "not shown"}) is None
