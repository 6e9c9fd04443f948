"""The table for the console, the results as JSON and the page docs/engine-peers.md; all of it from one run."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.engine_peers.cases import CASES, Finding
from benchmarks.engine_peers.engines import TITLES

Findings = dict[str, dict[str, dict[str, Finding]]]
"""By case, engine and way."""

WAYS = {
    ("transformers", ""): "`compute_loss_func` with `num_items_in_batch`",
    ("transformers", "model loss"): "a model that returns its own mean loss",
    ("accelerate", ""): "`accelerator.accumulate`",
    ("accelerate", "counted"): "the documented loop for samples of variable size",
    ("accelerate", "seedable"): "`use_seedable_sampler` and `skip_first_batches`",
    ("accelerate", "stateful"): "`use_stateful_dataloader` and `use_seedable_sampler`",
    ("accelerate", "own generator"): "a generator given to the DataLoader and seeded for each epoch by the user",
    ("fabric", ""): "the documented loop, its iterations counted from one",
    ("fabric", "as printed"): "that loop with `iteration % N != 0` counted from zero, as the page prints it",
    ("fabric", "by hand"): "what Fabric leaves to its user, written by hand",
    ("fabric", "other disk"): "temporary files on another file system than the checkpoints",
}
RESUMING = {
    ("transformers", ""): "`get_last_checkpoint` and `resume_from_checkpoint`",
    ("accelerate", ""): "`save_state`, `load_state` and `skip_first_batches`",
    ("fabric", ""): "`fabric.save`, `fabric.load` and skipping the batches that were seen",
}
"""The first way in the cases that are about checkpoints."""
SHORT = {"counted": "longer loop"}
"""Names for the table, where a way's own name says too little."""

INTRODUCTION = """# Four engines on the same cases

Hugging Face Trainer, Accelerate, Lightning Fabric and Mambrane train the same toy model from the same weights on the
same data, each in an environment of its own, with torch {torch} on a CPU. This page and
`benchmarks/results/engine_peers.json` are written by

```sh
python -m benchmarks.engine_peers
```

which ends with status 0 only if Mambrane is right in every row. Measured {date} on {machine}.

Each engine is used as its documentation says first, then in other ways that it offers or leaves to its user; all ways
are listed. *right* and *wrong* in the table are those of the first way; what stands in brackets is true of another way.
*refuses* is an exception before anything was trained. "-" means that the engine has no such thing on a CPU.
"""

SOURCES = """## How each engine was used

- **HF Trainer {transformers}** (with Accelerate {accelerate}): custom loss and `num_items_in_batch` as in
  [Trainer features](https://huggingface.co/docs/transformers/en/trainer_recipes) and
  [gradient accumulation](https://huggingface.co/docs/transformers/en/grad_accumulation); the newest checkpoint is found
  by `get_last_checkpoint` and given to `resume_from_checkpoint`; `save_total_limit=2`.
- **Accelerate {accelerate}**:
  [gradient accumulation](https://huggingface.co/docs/accelerate/usage_guides/gradient_accumulation), both the first
  loop and the one for samples of variable size, and
  [checkpointing](https://huggingface.co/docs/accelerate/usage_guides/checkpoint), folders named as in its
  `examples/complete_nlp_example.py`. In Accelerate's repository (commit 4789879) that page says that `save_state` keeps
  the order of shuffled data; {accelerate} does not yet, see "Resume".
- **Lightning Fabric {lightning}**:
  [gradient accumulation](https://lightning.ai/docs/fabric/stable/advanced/gradient_accumulation.html) and
  [checkpoints](https://lightning.ai/docs/fabric/stable/guide/checkpoint/checkpoint.html). Fabric has no steps of
  several micro-batches, no data cursor and no schedule: those rows judge the loops of its pages, and "by hand" shows
  that a careful user gets them right. On a CPU `precision="16-mixed"` becomes bf16, so the fp16 rows give its
  `MixedPrecision` plugin a `GradScaler("cpu")`. It writes a checkpoint into the system's temporary folder and moves
  it: that is atomic where both are on one file system, as in the first way of "Kill during a save".
- **Mambrane**: `Trainer`, `SequenceLoader` and `Checkpoints`, as in [engine.md](engine.md).

The adapters are short: `benchmarks/engine_peers/with_*.py`.

{several_processes}
## What this does not show

One CPU, a toy, and but for the section before this one process. fp16 with Trainer and Accelerate needs a GPU, so
nothing is said about it. A death is `os._exit` after a call of Python, of `torch.save` or of the safetensors writer,
the last two also with half of the file there: what a killed process leaves, not what a power cut leaves, which may
also take back what was never synced. `tests/storage/test_durability.py` goes further with Mambrane alone.
"""


def cell(findings: dict[str, Finding]) -> str:
    """Return the short verdict of an engine in a case."""
    first = findings[""].verdict
    if first == "not offered":
        return "-"
    opposite = {"right": "wrong", "wrong": "right"}.get(first)
    others = [SHORT.get(way, way) for way, finding in findings.items() if way and finding.verdict == opposite]
    return f"{first} ({opposite}: {', '.join(others)})" if others else first


def table(findings: Findings, engines: list[str]) -> list[list[str]]:
    """Return the rows, the heading first."""
    rows = [["case", *(TITLES[engine] for engine in engines)]]
    rows += [
        [case.title, *(cell(findings[case.name][engine]) for engine in engines)]
        for case in CASES
        if case.name in findings
    ]
    return rows


def plain_table(rows: list[list[str]]) -> str:
    """Return the table in columns, for a console."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def results(findings: Findings, versions: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Return what is written as JSON."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "python": platform.python_version(),
        "versions": versions,
        "cases": {
            name: {
                engine: {
                    way or "documented": {"verdict": finding.verdict, "text": finding.text}
                    for way, finding in ways.items()
                }
                for engine, ways in engines.items()
            }
            for name, engines in findings.items()
        },
    }


def page(findings: Findings, versions: dict[str, dict[str, str]]) -> str:
    """Return docs/engine-peers.md."""
    engines = list(versions)
    rows = table(findings, engines)
    facts = {
        package.replace("-", "_"): version for packages in versions.values() for package, version in packages.items()
    }
    facts["several_processes"] = (Path(__file__).parent / "several_processes.md").read_text(encoding="utf-8")
    facts |= {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    rows[0][1:] = [f"{TITLES[engine]} {list(versions[engine].values())[1]}" for engine in engines]
    lines = [INTRODUCTION.format(**facts)]
    lines += ["| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])]
    for case in CASES:
        lines += ["", f"## {case.title}", "", case.asks, "", f"Judged: {case.judged}", ""]
        for engine in engines:
            for way, finding in findings[case.name][engine].items():
                ways = WAYS | RESUMING if case.is_about_checkpoints else WAYS
                how = f", {ways[engine, way]}" if (engine, way) in ways else ""
                lines.append(f"- **{TITLES[engine]}**{how}: {finding.verdict}; {finding.text}.")
    return "\n".join([*lines, "", SOURCES.format(**facts)])


def machine() -> str:
    """Return the processor and its number of cores."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.partition(": ")[2] for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {platform.system()}"
