"""From where on earlier lines of a run's log no longer count: a resume, a task taken back, a run begun anew."""

from mambrane.core.events import Event

BEGINNINGS = frozenset({"task_started", "step", "evaluation", "matrix", "weights_measured"})
"""What a run says only once it has said that it goes on from a checkpoint, if it does."""
BEFORE_EVERYTHING = -1


class GoingBack:
    """Follows a run's events."""

    def __init__(self) -> None:
        self._has_just_started = False

    def __call__(self, event: Event) -> int | None:
        """Return the last step of which earlier events still count; None where they count as before.

        It is -1 at the first event of a run that has started without going on from a checkpoint: not even what was
        measured before the first step counts any longer.
        """
        kind = event["event"]
        if kind == "run_started":
            self._has_just_started = True
        elif kind in ("resumed", "task_taken_back"):
            self._has_just_started = False
            return event.get("step")
        elif kind in BEGINNINGS and self._has_just_started:
            self._has_just_started = False
            return BEFORE_EVERYTHING
        return None
