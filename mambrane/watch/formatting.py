"""Numbers as a reader wants them: 1 h 12 min, 1,131, 0.00092, 12.1 %. The same words in the console and the report."""

import math
from collections.abc import Sequence
from typing import Any

from mambrane.core.printable import printable


def duration(seconds: int | float) -> str:
    """Return a length of time in its two largest units: `8 s`, `2 min 10 s`, `1 h 12 min`, `3 d 4 h`."""
    total = round(seconds)
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    if minutes:
        return f"{minutes} min {total % 60} s"
    return f"{total} s"


def count(number: int | float) -> str:
    """Return a whole number with commas: `1,131`."""
    return f"{number:,.0f}"


def percent(ratio: int | float) -> str:
    """Return a ratio as a percentage with one decimal: `12.1 %`."""
    return f"{100 * ratio:.1f} %"


def size(num_bytes: int | float) -> str:
    """Return an amount of data: `812 bytes`, `3.4 MB`, powers of ten."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.1f} {unit}"
    return f"{num_bytes} bytes"


def decimal(number: int | float | str, digits: int = 3) -> str:
    """Return a number with that many decimals; the event log's "nan" and "inf" stay words."""
    number = float(number)
    return f"{number:.{digits}f}" if math.isfinite(number) else str(number)


def compact(number: int | float | str) -> str:
    """Return a number of any size in a few digits: `0.83`, `0.00092`, `9.2e-05`, `65,536`."""
    number = float(number)
    if not math.isfinite(number) or number == 0:
        return f"{number:g}"
    if abs(number) < 1e-4 or abs(number) >= 1e7:
        return f"{number:.1e}"
    return count(number) if abs(number) >= 1000 else f"{number:.3g}"


def value(any_value: Any) -> str:  # noqa: ANN401 -- any JSON value
    """Return a JSON value on one line: floats compact, lists and dicts in brackets."""
    if isinstance(any_value, bool) or any_value is None:
        return {True: "yes", False: "no", None: "none"}[any_value]
    if isinstance(any_value, float):
        return compact(any_value)
    if isinstance(any_value, dict):
        return "{" + ", ".join(f"{key}: {value(item)}" for key, item in any_value.items()) + "}"
    if isinstance(any_value, list | tuple):
        return ", ".join(value(item) for item in any_value) or "none"
    return str(any_value) or "none"


def switches(on: Sequence[str], off: Sequence[str]) -> str:
    """Return in one line what is switched on in a run and what is not."""
    return f"on: {', '.join(on) or 'nothing'}; off: {', '.join(off) or 'nothing'}"


def visible(text: str, keep: str = "") -> str:
    r"""Return text whose control characters can be seen: a tab is four spaces, an escape `\x1b`.

    Args:
        text: any text.
        keep: control characters that stay as they are, such as the line end.
    """
    return "".join(c if c in keep else printable(c) for c in text.replace("\t", "    "))


def shortened(name: str, width: int) -> str:
    """Return a name in at most that many characters, its middle left out where it is longer."""
    name = visible(name)
    if len(name) <= width:
        return name
    end = (width - 2) // 2
    return f"{name[: width - 2 - end]}..{name[len(name) - end :]}"
