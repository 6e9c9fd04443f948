"""Prints the notes of a release from CHANGELOG.md: `python scripts/release_notes.py 0.2.0`; without one, the newest.

For a release page: `gh release create v0.2.0 --notes "$(python scripts/release_notes.py 0.2.0)"`.
"""

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"
HEADING = re.compile(r"^## (\S+)(?: \((.+)\))?$", re.MULTILINE)


def main() -> None:
    """Print the notes, or say what is missing."""
    try:
        sys.stdout.write(notes_of(CHANGELOG.read_text(encoding="utf-8"), *sys.argv[1:2]))
    except ValueError as error:
        sys.exit(str(error))


def notes_of(changelog: str, version: str = "") -> str:
    """Return what a changelog says of a version, each change on one line; of the newest where none is named.

    Raises:
        ValueError: it says nothing of it.
    """
    headings = list(HEADING.finditer(changelog))
    for heading, after in zip(headings, [*headings[1:], None], strict=True):
        if version in ("", heading.group(1)):
            body = changelog[heading.end() : after.start() if after else len(changelog)].strip()
            if not body:
                break
            # A release page breaks lines where the source does.
            return re.sub(r"\n  +(?=\S)", " ", body) + "\n"
    known = ", ".join(heading.group(1) for heading in headings)
    raise ValueError(f"CHANGELOG.md says nothing of {version or 'any version'}; it has {known}")


if __name__ == "__main__":
    main()
