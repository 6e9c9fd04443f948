"""What docs/gpu.md shows of the figures: between two marks, so that what is written by hand stays."""

from typing import Any

from benchmarks.environments import ROOT
from benchmarks.page import RESULTS, write_result

PAGE = ROOT / "docs" / "gpu.md"
MARKS = ("<!-- figures -->", "<!-- end of figures -->")
PREDICTED = "predicted, not measured"
H100_FLOPS_PER_S = 989.4e12
SHOWN_IN_PARTS = ("base", "large, Mamba 2")
"""Runs whose micro-batch stands on the page by what limits it."""


def prediction_table(predicted: dict[str, Any]) -> str:
    """Return a row for each run and form, each labelled."""
    lines = [
        "| run | form | launches of a micro-batch | tokens/s | MFU | kept for the backward pass | |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for name, run in predicted["runs"].items():
        for form in ("eager", "compiled"):
            found = run[form]
            lines.append(
                f"| {name} ({run['parameters'] / 1e6:,.1f} M) | {form} | {found['launches_per_micro_batch']:,} | "
                f"{found['predicted_tokens_per_s']:,.0f} | {found['predicted_mfu']:.1%} | "
                f"{run['saved_mib_per_micro_batch']:,.0f} MiB | {PREDICTED} |"
            )
    return "\n".join(lines)


def parts_table(predicted: dict[str, Any], name: str = "base") -> str:
    """Return where the time of a micro-batch goes on the device, by what limits it."""
    run = predicted["runs"][name]
    limits = list(dict.fromkeys(limit for form in ("eager", "compiled") for limit in run[form]["parts"]["device_ms"]))
    lines = [f"| {name}, ms of a micro-batch | eager | compiled | |", "|---|---:|---:|---|"]
    for limit in limits:
        both = (run[form]["parts"]["device_ms"].get(limit, 0.0) for form in ("eager", "compiled"))
        lines.append(f"| {limit} | {' | '.join(f'{ms:.2f}' for ms in both)} | {PREDICTED} |")
    for title, key in (
        ("**the device, sum**", "device_ms_of_all"),
        ("**the host**, beside it", "host_ms"),
        ("**a step**", "step_ms"),
    ):
        both = (run[form]["parts"][key] for form in ("eager", "compiled"))
        lines.append(f"| {title} | {' | '.join(f'{ms:.2f}' for ms in both)} | {PREDICTED} |")
    return "\n".join(lines)


def prediction_text(predicted: dict[str, Any]) -> str:
    """Return all predictions as Markdown."""
    heading = f"An {predicted['gpu']['name']}, {PREDICTED}."
    parts = "\n\n".join(parts_table(predicted, name) for name in SHOWN_IN_PARTS if name in predicted["runs"])
    return f"{heading}\n\n{prediction_table(predicted)}\n\n{parts}"


def measured_text(measured: dict[str, Any], predicted: dict[str, Any]) -> str:
    """Return what was measured, with the prediction beside it."""
    head = (
        f"Measured {measured['date']} on {measured['device']}, torch {measured['torch']}: `python -m benchmarks.gpu`."
    )
    lines = ["| run | tokens/s, measured | predicted (H100) | MFU | peak, GiB |", "|---|---:|---:|---:|---:|"]
    for name, found in measured.get("training", {}).items():
        run, form = name.rsplit(", ", 1)
        expected = predicted["runs"][run][form]["predicted_tokens_per_s"]
        lines.append(
            f"| {name} | {found['tokens_per_s']:,.0f} | {expected:,.0f} | "
            f"{found['flops_per_s'] / H100_FLOPS_PER_S:.1%} | {found['peak_bytes'] / 2**30:.1f} |"
        )
    lines += ["", "| operation | backend | difference, forward | backward | us, forward | backward |", "|---" * 6 + "|"]
    times = {row["operation"]: row for row in measured.get("operations", [])}
    for row in measured.get("parity", []):
        took = times.get(row["operation"], {"forward_us": float("nan"), "backward_us": float("nan")})
        backward = f"{row['backward']:.1e}" if "backward" in row else "-"
        lines.append(
            f"| {row['operation']} | {row['backend']} | {row['forward']:.1e} | {backward} | "
            f"{took['forward_us']:.0f} | {took['backward_us']:.0f} |"
        )
    lines += [""] + [
        f"- {row['operation']} against {row['peer']}: "
        + (row.get("left_out") or f"{row['ours_us']:.0f} us against {row['theirs_us']:.0f}, forward and backward")
        for row in measured.get("peers", [])
    ]
    lines += [""] + [
        f"- {row['tokens']:,} tokens in one sequence: {row['us_per_token']:.2f} us for a token"
        for row in measured.get("long_sequences", [])
    ]
    if "generation" in measured:
        lines.append(f"- generation: {measured['generation']['tokens_per_s']:,.0f} tokens/s of one text")
    if "is_resumed_exactly" in measured:
        answer = "the same bits" if measured["is_resumed_exactly"] else "NOT the same bits"
        lines.append(f"- stopped and resumed with --deterministic: {answer}")
    return f"{head}\n\n" + "\n".join(lines)


def save(measured: dict[str, Any], predicted: dict[str, Any]) -> None:
    """Write figures as JSON, a picture of them, and the page."""
    write_result("gpu", {"measured": measured, "predicted": predicted})
    draw(measured, predicted)
    write_page(f"{measured_text(measured, predicted)}\n\n{prediction_text(predicted)}")


def write_page(figures: str) -> None:
    """Put the figures between the marks of docs/gpu.md."""
    text = PAGE.read_text()
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{figures}\n\n{MARKS[1]}{after}")


def draw(measured: dict[str, Any], predicted: dict[str, Any]) -> None:
    """Draw tokens/s, measured beside predicted."""
    from matplotlib.figure import Figure

    names = list(measured.get("training", {}))
    figure = Figure(figsize=(8, 0.4 * len(names) + 1.5), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(names):
        run, form = name.rsplit(", ", 1)
        axes.barh(place + 0.2, measured["training"][name]["tokens_per_s"], 0.35, color="tab:blue")
        axes.barh(place - 0.2, predicted["runs"][run][form]["predicted_tokens_per_s"], 0.35, color="tab:gray")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(f"tokens/s: measured on {measured['device']} (blue), predicted for an H100 (gray)")
    figure.savefig(RESULTS / "gpu.svg")
