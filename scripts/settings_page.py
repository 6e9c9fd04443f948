"""Writes docs/reference/settings.md from the configuration: `python scripts/settings_page.py`."""

from pathlib import Path

from mambrane.app.arguments import TrainArguments
from mambrane.app.help import TITLES, Setting, default_text, flag_text, settings_of
from mambrane.settings.presets import PRESETS

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"
HEAD = """\
# Every setting

Flags of `mambrane train`, by the room they belong to. The same names stand in a `--config FILE` (`[engine]`,
`learning_rate = 0.002`), in `config.json` of a run and as fields of `mambrane.RunConfig`. Values are those without a
preset; the presets are {presets}.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page: each group of settings as a table."""
    parts = [HEAD.format(presets=", ".join(f"`{name}`" for name in PRESETS))]
    groups = dict(settings_of(TrainArguments()))
    for group in TITLES:
        rows = [_row(setting) for setting in groups[group]]
        parts.append(
            "\n".join([f"## {TITLES[group]}", "", "| flag | default | what it does |", "|---|---|---|", *rows, ""])
        )
    return "\n".join(parts)


def _row(setting: Setting) -> str:
    flag = flag_text(setting).replace("|", "\\|")
    return f"| `{flag}` | {default_text(setting.default) or '-'} | {setting.sentence.replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    main()
