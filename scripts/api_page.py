"""Writes docs/api.md from what the package exports: `python scripts/api_page.py`."""

import inspect
from pathlib import Path

import mambrane

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
HEAD = """\
# The public API

`import mambrane` offers these names and no others. Whatever is not on this page is private, wherever it stands: it may
change without notice. Nothing is imported before its first use, and nothing here prints; what a run says goes to its
listeners.

```python
import mambrane

config = mambrane.configure(preset="tiny", output_dir="runs/mine", epochs=5)
run = mambrane.train(config, listeners=[mambrane.ConsoleListener()])  # the same call resumes

run.matrix.metrics()["forgetting"]
run.evaluate()["python"].bits_per_byte
print(run.generate("def ", temperature=0.6))
run.report()

same = mambrane.Run.open("runs/mine")
same.model, same.tokenizer, same.matrix, list(same.events())
```

A wrong setting raises `UserError`, never `SystemExit`. `mambrane train` and the other commands are thin callers of the
same functions; `python -m mambrane` is the same program.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page: each public name with the first line of what it says of itself."""
    sections = [HEAD, *_section("The names", mambrane)]
    for room in (mambrane.ops, mambrane.layers):
        sections += _section(f"`{room.__name__}`", room)
    return "\n".join(sections) + "\n"


def _section(title: str, module: object) -> list[str]:
    rows = [f"| `{name}` | {_first_line(getattr(module, name))} |" for name in sorted(module.__all__)]
    return [f"## {title}", "", "| name | what it is |", "|---|---|", *rows, ""]


def _first_line(thing: object) -> str:
    # An alias such as a Literal has no docstring of its own: what it stands for says more.
    has_words = inspect.ismodule(thing) or inspect.isclass(thing) or inspect.isroutine(thing)
    return (inspect.getdoc(thing) or "").split("\n")[0] if has_words else f"`{thing}`".replace("typing.", "")


if __name__ == "__main__":
    main()
