"""The page docs/benchmarks.md, made from the results that the benchmarks left in benchmarks/results/."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks.environments import ROOT

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"

INTRODUCTION = """\
Written by the commands below, all of which `python -m benchmarks` runs; the raw numbers are in
`benchmarks/results/`."""

Result = dict[str, Any]


def write_result(name: str, result: Result) -> None:
    """Write the result of a benchmark as JSON."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def save_result(name: str, result: Result) -> None:
    """Write the result of a benchmark, and the page anew."""
    write_result(name, result)
    sections = [f"# Benchmarks\n\n{INTRODUCTION}"]
    for section, table in SECTIONS.items():
        file = RESULTS / f"{section}.json"
        if file.exists():
            found = json.loads(file.read_text())
            command = f"`python -m benchmarks.{section}`, {found['date']}, {machine_line(found)}."
            sections.append(f"## {TITLES[section]}\n\n{command}\n\n{NOTES[section]}\n\n{table(found)}")
    PAGE.write_text("\n\n".join(sections) + "\n")


def machine_line(result: Result) -> str:
    """Return processor, threads and versions in a few words."""
    return (
        f"{result['processor']} ({result['cpu_capability']}), {result['num_threads']} threads, "
        f"torch {result['torch']}, Python {result['python']}"
    )


def operators_table(result: Result) -> str:
    """Return a row for each comparison."""
    plain = "operation, peer | ours, ms (first of a turn) | peer, ms | ratio | wanted | ours, MiB | peer, MiB"
    lines = [f"| {plain} | as in training: ours, ms (first) | peer, ms | ratio |", "|---" * 10 + "|"]
    for row in result["rows"]:
        if "error" in row:
            lines.append(f"| {row['name']} ({row['peer']}) | no parity: {row['error']} |" + " |" * 8)
            continue
        wanted = [f"{row['target_ratio']:g} x"] if row["target_ratio"] else []
        wanted += [f"{row['target_ms']:.0f} ms"] if row["target_ms"] else []
        verdict = f"{', '.join(wanted)}: {'met' if row['is_met'] else 'missed'}" if wanted else "-"
        training = row["as_in_training"]
        lines.append(
            f"| {row['name']} ({row['peer']}) | {_ours(row)} | {row['theirs_ms']:,.1f} | "
            f"{row['ratio']:.1f} | {verdict} | {row['ours_peak_mib']:.0f} | {row['theirs_peak_mib']:,.0f} | "
            f"{_ours(training)} | {training['theirs_ms']:,.1f} | {training['ratio']:.1f} |"
        )
    rates = f"{result['float32_gigaflops']:.0f} GFLOP/s, {result['copied_gigabytes_per_s']:.0f} GB/s of copying"
    return "\n".join(lines) + f"\n\nLimits of the machine in the same run: {rates}."


def _ours(row: dict[str, Any]) -> str:
    digits = 1 if row["ours_ms"] >= 10 else 2
    return f"{row['ours_ms']:.{digits}f} ({row['ours_first_ms']:.{digits}f})"


def generation_table(result: Result) -> str:
    """Return cost by position, throughput by batch and the speed of reading a prompt."""
    lines = ["| position | ms for a token | state, KiB |", "|---" * 3 + "|"]
    lines += [f"| {r['position']:,} | {r['step_ms']:.2f} | {r['state_kib']:.0f} |" for r in result["positions"]]
    lines += ["", "| texts at once | tokens/s |", "|---" * 2 + "|"]
    lines += [f"| {r['batch_size']} | {r['tokens_per_s']:,.0f} |" for r in result["batches"]]
    lines += ["", "| reading | tokens/s |", "|---" * 2 + "|"]
    lines += [f"| {r['name']} | {r['tokens_per_s']:,.0f} |" for r in result["reading"]]
    written = result["written"]
    lines += [
        "",
        f"After {written['tokens']:,} tokens written in a row, a token costs {written['long_ms']:.2f} ms, one "
        f"of a fresh text, timed in turns with it, {written['fresh_ms']:.2f} ms. On the way memory grew by "
        f"{written['growth_mib']:.1f} MiB.",
    ]
    return "\n".join(lines)


def long_context_table(result: Result) -> str:
    """Return cost and memory for each length."""
    lines = ["| tokens in a sequence | sequences | us for a token | against the first |", "|---" * 4 + "|"]
    first = result["lengths"][0]["us_per_token"]
    lines += [
        f"| {r['tokens']:,} | {r['batch_size']} | {r['us_per_token']:.1f} | {r['us_per_token'] / first:.2f} |"
        for r in result["lengths"]
    ]
    lines += ["", "| tokens in one sequence | peak memory, MiB | KiB for a token |", "|---" * 3 + "|"]
    lines += [
        f"| {r['tokens']:,} | {r['peak_mib']:.0f} | {1024 * r['peak_mib'] / r['tokens']:.1f} |"
        for r in result["memory"]
    ]
    return "\n".join(lines)


SECTIONS: dict[str, Callable[[Result], str]] = {
    "operators": operators_table,
    "long_context": long_context_table,
    "generation": generation_table,
}
TITLES = {
    "operators": "Operations against outside implementations",
    "long_context": "Long sequences",
    "generation": "Generation",
}
NOTES = {
    "operators": """\
Forward and backward, medians of runs in turns, on the same inputs and weights in float32: scan, blocks, CfC and LTC
with 8 sequences of 256 tokens (blocks: width 512, expanded 2 times, 32 states; scan: 1024 channels), neurons with 8 x
256 x 1024. A turn is one run of the peer and about as many of ours as take the same time, 30 at the most; the first of
them, right after the peer, finds cold caches and is shown by itself. Each peer has an environment of its own, with the
version of `requirements/parity.txt`. Nothing is timed before outputs and gradients agree: spikes bit by bit, the rest
within 1e-4 of the root mean square (the gradient of LTC's `cm`, which cancels almost to nothing, within 5e-3). MiB is
by how much the memory of the process rose during the first run; one float32 tensor of batch x tokens x channels x
states would be 256 MiB. The time wanted of the scan is 1.3 times the 80 ms of the prototype, scaled by the rate of
float32 products.

"As in training" is a second process, in which both sides keep the memory that they free and torch's idle threads sleep
soon, as in `mambrane train` (`core/memory.py`, `app/openmp.py`): most of what a large tensor costs is the system
handing out its pages, so peers gain much by it. "Inputs cut once" is the peer's step in a loop over `current.unbind()`
instead of `current[t]`, whose backward pass fills a whole tensor for each tick: not what its documentation shows, but
the fastest use of it that we found.""",
    "long_context": """\
The tiny preset with Mamba, gate and cross-attention (window 64) on random bytes, forward and backward. First table:
16,384 tokens in every step, whatever the length. Second table: one sequence, the rise of the memory of the process.""",
    "generation": """\
The tiny preset with Mamba, gate and cross-attention, random weights, byte vocabulary. The positions of the first table
were reached by reading random text; their steps were timed in turns.""",
}
