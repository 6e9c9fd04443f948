"""A study as a value: arms, seeds and orders of tasks; and each of its runs with its whole configuration.

    name = "methods"                title = "What keeps the earlier tasks"
    seeds = [0, 1, 2]               orders = 2
    baseline = "naive"

    [settings]                      # of every arm: flags of `mambrane train` by name, and `preset`
    preset = "tiny"

    [arms.naive]
    use-replay = false

    [arms.replay]
    use-replay = true

`seeds` is a list, or how many (0, 1, ...). `orders` is a list of orders, each a list of domains, or how many: the given
order, its reverse, then others drawn once and for all. `metric` is the one that is tested; `naive` and `joint` name the
arms between which the gap lies that others close (without them: the baseline, and the arm with --curriculum joint);
`axis` names a setting that a picture is drawn over, `series` one that draws a line for each of its values there.
"""

import dataclasses
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mambrane.core.errors import UserError
from mambrane.settings.config import SECTION_OF, RunConfig, to_dict
from mambrane.settings.effects import settings_without_effect
from mambrane.settings.named_settings import config_of

METRICS = (
    "final_average",
    "average_incremental",
    "learned_average",
    "backward_transfer",
    "forgetting",
    "forward_transfer",
    "lost_gain_fraction",
    "gap_closed",
    "intransigence",
    "reference_drift",
)
"""What a study knows of a run; definitions in continual/forgetting_metrics.py, and of the gap in results.py."""
HIGHER_IS_BETTER = frozenset({"backward_transfer", "forward_transfer", "gap_closed"})
"""Whatever the measure; averages are as the measure is, all others are better when lower."""
OWN_SETTINGS = {
    "seed": "seeds = [0, 1, 2]",
    "task_order": 'orders = [["python", "cpp"], ["cpp", "python"]]',
    "output_dir": "mambrane study FILE --output-dir DIR",
    "dry_run": "mambrane study FILE --dry-run",
    "max_steps": "epochs, as a run that stops before its end has no result",
}
"""Settings that the study sets itself, and what to write in their place."""
MOST = 1000
"""Seeds or orders."""
_ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _+.%-]{0,63}")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""Names of devices on Windows."""


class Cell(NamedTuple):
    """One run of a study."""

    arm: str
    seed: int
    order: int
    """Number of the order of tasks, from 1."""
    config: RunConfig
    folder: Path
    """Folder of the run."""

    @property
    def title(self) -> str:
        """The run as a person names it."""
        return f"{self.arm}, seed {self.seed}, order {self.order}"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A grid of settings, seeds and orders of tasks."""

    name: str
    arms: Mapping[str, Mapping[str, Any]]
    """Settings by arm, by the name of their flag; they stand above those of every arm."""
    baseline: str
    """The arm that all others are compared with."""
    seeds: int | Sequence[int] = 1
    """The seeds, or how many."""
    orders: int | Sequence[Sequence[str]] = 1
    """The orders of the tasks, or how many."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of every arm."""
    title: str = ""
    """What is asked, as a sentence."""
    metric: str = "final_average"
    """The metric whose differences are tested."""
    naive: str = ""
    """The arm at which the gap begins that others close; left out: the baseline."""
    joint: str = ""
    """The arm at which it ends, one that learns all tasks at once."""
    axis: str = ""
    """A setting that differs between arms, over which the metric is drawn."""
    series: str = ""
    """A setting that parts the arms over the axis: one line for each of its values."""
    expected_minutes: float = 0.0
    """About how long all of it takes on two cores; 0 where nobody has measured it."""
    source: str = "the study"
    """Where it was read, for messages."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name):
            raise self._error(f"name {self.name!r}", "letters, digits, - _ and .", 'name = "memory-share"')
        if not self.arms:
            raise self._error("no arms", "a table for each arm", "[arms.NAME] and its settings below")
        self._check_arm_names()
        self._check_pictures()
        for role in ("baseline", "naive", "joint"):
            arm = getattr(self, role)
            if arm not in self.arms and (arm or role == "baseline"):
                names = ", ".join(self.arms)
                raise self._error(f"{role} {arm!r} is no arm", f"one of {names}", f'{role} = "{next(iter(self.arms))}"')
        if self.metric not in METRICS:
            raise self._error(f"metric {self.metric!r}", ", ".join(METRICS), 'metric = "final_average"')
        for name in ("seeds", "orders"):
            number = getattr(self, name)
            if not 1 <= (number if isinstance(number, int) else len(number)) <= MOST:
                raise self._error(f"{name} = {number}", f"at least 1, at most {MOST}", f"{name} = 1")
        repeated = [seed for seed in self.seed_list if self.seed_list.count(seed) > 1]
        if repeated:
            raise self._error(f"seed {repeated[0]} twice", "each seed once", f"seeds = {sorted(set(self.seed_list))}")
        orders = [] if isinstance(self.orders, int) else [tuple(order) for order in self.orders]
        twice = [order for order in orders if orders.count(order) > 1]
        if twice:
            kept = [list(order) for order in dict.fromkeys(orders)]
            raise self._error(f"the order {list(twice[0])} twice", "each order once", f"orders = {kept}")

    def _check_pictures(self) -> None:
        for key in ("axis", "series"):
            name = getattr(self, key)
            if name and name.replace("-", "_") not in SECTION_OF:
                raise self._error(
                    f"{key} {name!r} is no setting", "a flag of mambrane train", f'{key} = "replay-share"'
                )

    def _check_arm_names(self) -> None:
        seen: dict[str, str] = {}
        for arm in self.arms:
            if not _ARM_NAME.fullmatch(arm) or arm.endswith((" ", ".")) or _RESERVED.fullmatch(arm):
                wanted = "a name that can be a folder: letters, digits, blanks and _ + . % -, at most 64"
                raise self._error(f"the arm {arm!r}", wanted, "rename it")
            other = seen.setdefault(arm.casefold(), arm)
            if other != arm:
                raise self._error(
                    f"the arms {other!r} and {arm!r}", "names that differ in more than case", "rename one"
                )

    def _error(self, found: str, wanted: str, way_out: str) -> UserError:
        return UserError(f"{self.source}: {found}", wanted=wanted, way_out=way_out)

    @property
    def seed_list(self) -> list[int]:
        """The seeds."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)

    @property
    def num_orders(self) -> int:
        """How many orders of the tasks there are."""
        return self.orders if isinstance(self.orders, int) else len(self.orders)

    @cached_property
    def configurations(self) -> dict[str, RunConfig]:
        """The configuration of each arm, before seed and order.

        Raises:
            UserError: a setting that is unknown, wrong or the study's own, or two arms that are the same.
        """
        made: dict[str, RunConfig] = {}
        for arm, own in self.arms.items():
            settings = {name.replace("-", "_"): value for name, value in self.settings.items()}
            # A setting of the arm stands above one of all, however either is spelt.
            settings |= {name.replace("-", "_"): value for name, value in own.items()}
            for name, instead in OWN_SETTINGS.items():
                if name in settings:
                    raise self._error(
                        f"{name.replace('_', '-')} in [arms.{arm}] or [settings]", instead, "leave it out"
                    )
            made[arm] = config_of(settings, source=f"{self.source}, arm {arm}")
        for arm, config in made.items():
            twin = next(name for name, other in made.items() if to_dict(other) == to_dict(config))
            if twin != arm:
                found = f"[arms.{twin}] and [arms.{arm}] are the same run"
                raise self._error(found, "arms that differ in a setting", "leave one out, or correct it")
        kinds = {config.run.task for config in made.values()}
        if len(kinds) > 1:
            raise self._error(f"tasks of the kinds {', '.join(sorted(kinds))}", "one kind", "task in [settings] only")
        return made

    def warnings(self) -> list[str]:
        """Return a sentence for each setting that changes nothing: an arm's own there, one of all arms in each."""
        sentences: dict[str, list[str]] = {}
        for arm, config in self.configurations.items():
            given = {name.replace("-", "_") for name in (*self.settings, *self.arms[arm])}
            for sentence in settings_without_effect(config, config, given):
                sentences.setdefault(sentence, []).append(arm)
        own = {arm: {f"--{name.replace('_', '-')}" for name in settings} for arm, settings in self.arms.items()}
        return [
            f"{sentence} ({'every arm' if len(arms) == len(self.arms) else f'arm {arm}'})"
            for sentence, arms in sentences.items()
            for arm in (arms[:1] if len(arms) == len(self.arms) else arms)
            if len(arms) == len(self.arms) or sentence.split()[0] in own[arm]
        ]

    @property
    def naive_arm(self) -> str:
        """The arm at which the gap begins that others close."""
        return self.naive or self.baseline

    @property
    def joint_arm(self) -> str | None:
        """The arm at which it ends: the one that is named, or else the only one that learns all tasks at once."""
        at_once = [
            arm
            for arm, config in self.configurations.items()
            if not config.continual.continual_learning or config.continual.curriculum == "joint"
        ]
        return self.joint or (at_once[0] if len(at_once) == 1 else None)

    def cells(self, folder: Path) -> list[Cell]:
        """Return every run, in the order in which they start: all arms with one seed, then with the next.

        Raises:
            UserError: as `configurations`; or more orders than there are.
        """
        return [
            self._cell(arm, config, seed, order, folder)
            for seed in self.seed_list
            for order in range(1, self.num_orders + 1)
            for arm, config in self.configurations.items()
        ]

    def _cell(self, arm: str, config: RunConfig, seed: int, order: int, folder: Path) -> Cell:
        place = folder / "runs" / arm / f"seed-{seed}-order-{order}"
        tasks = config.num_domains or 1
        if self.num_orders > 1 and tasks == 1:
            raise self._error(f"{self.num_orders} orders, and the arm {arm} has one task", "tasks", "orders = 1")
        replaced = dataclasses.replace(
            config,
            run=dataclasses.replace(config.run, seed=seed, output_dir=str(place)),
            data=dataclasses.replace(config.data, task_order=self._orders_of(tasks)[order - 1]),
        )
        return Cell(arm, seed, order, replaced, place)

    def _orders_of(self, num_tasks: int) -> list[tuple[str, ...]]:
        if not isinstance(self.orders, int):
            return [tuple(order) for order in self.orders]
        orders = list(_distinct_orders(num_tasks, self.orders))
        if len(orders) < self.orders:
            found = f"{self.orders} orders of {num_tasks} tasks"
            raise self._error(found, f"at most {len(orders)}", f"orders = {len(orders)}")
        return orders


def _distinct_orders(num_tasks: int, number: int) -> Iterator[tuple[str, ...]]:
    """Yield orders as places from 1: as given (which needs no words), reversed, then drawn; each once."""
    given = tuple(str(place) for place in range(1, num_tasks + 1))
    seen = {given}
    yield ()
    draw, order = random.Random(0), list(reversed(given))
    # Of few tasks there are few orders: the draw gives up once it has seen nothing new for long.
    for _ in range(100 * number):
        if len(seen) == number:
            return
        if tuple(order) not in seen:
            seen.add(tuple(order))
            yield tuple(order)
        draw.shuffle(order)
