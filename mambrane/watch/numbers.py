"""The numbers of a run under the names that loggers show them by, from the events of its log."""

from mambrane.continual.matrix import ForgettingMatrix
from mambrane.core.events import Event
from mambrane.watch.going_back import GoingBack

STEP_NUMBERS = {
    "loss": "train/loss_nats_per_token",
    "bits_per_byte": "train/bits_per_byte",
    "gradient_norm": "train/gradient_norm",
    "learning_rate": "train/learning_rate",
    "scale": "train/loss_scale",
    "tokens_per_s": "speed/tokens_per_s",
    "task": "train/task",
}
GROUPS_OF_NUMBERS = ("terms", "penalties", "numbers")


class LoggedNumbers:
    """Follows a run's events; `step` is the last applied step that they speak of."""

    def __init__(self) -> None:
        self.step = 0
        self.went_back_to: int | None = None
        """The last step of which earlier numbers still count, where the latest event takes back later ones."""
        self._going_back = GoingBack()

    def __call__(self, event: Event) -> dict[str, float]:
        """Return the numbers of an event by name; none for most kinds."""
        kind = event["event"]
        self.went_back_to = self._going_back(event)
        if self.went_back_to is not None:
            self.step = max(self.went_back_to, 0)
        if kind == "step" and event["state"] == "COMMITTED":
            self.step = event["step"]
            return _numbers_of_step(event)
        if kind == "evaluation":
            return {f"heldout_{event['measure']}/{event['domain']}": float(event[event["measure"]])}
        return _metrics(event) if kind == "matrix" else {}


def _numbers_of_step(event: Event) -> dict[str, float]:
    numbers = {tag: float(event[field]) for field, tag in STEP_NUMBERS.items() if event.get(field) is not None}
    for group in GROUPS_OF_NUMBERS:
        for name, number in event.get(group, {}).items():
            numbers[name if "/" in name else f"{group}/{name}"] = float(number)
    return numbers


def _metrics(event: Event) -> dict[str, float]:
    """Return what is defined of the metrics of a forgetting matrix."""
    metrics = matrix_of(event).metrics()
    return {f"continual/{name}": metric.value for name, metric in metrics.items() if metric.value is not None}


def matrix_of(event: Event) -> ForgettingMatrix:
    """Return the forgetting matrix that a "matrix" event holds."""
    matrix = ForgettingMatrix(event["domains"], event["num_tasks"], task_columns=event.get("task_columns"))
    matrix.load_state_dict(event)
    return matrix


def flat_settings(config: Event) -> dict[str, str | int | float | bool]:
    """Return the settings of a "run_started" event by dotted name; what is no single value is text."""
    return {
        f"{section}.{name}": value if isinstance(value, str | int | float | bool) else _as_text(value)
        for section, settings in config.items()
        for name, value in settings.items()
    }


def _as_text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def edges_of(histogram: Event) -> list[float]:
    """Return the edges of the bins of one entry of a "weights_measured" event, one more than there are bins."""
    low, high, bins = histogram["low"], histogram["high"], len(histogram["counts"])
    return [low + (high - low) * place / bins for place in range(bins + 1)]
