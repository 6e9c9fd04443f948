"""The day there is a GPU: parity, times, tokens/s, long sequences, generation, exact resume and memory, in 10 minutes.

    python -m benchmarks.gpu [--minutes 10] [--json]
    python -m benchmarks.gpu --predict [--json] [--write]

Needs torch, and Triton on a GPU; no network. Writes benchmarks/results/gpu.json, a picture and docs/gpu.md.
Without a GPU it prints what an H100 is predicted to take, and says so on each line: nothing of that is measured.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.gpu import page
from benchmarks.gpu.prediction import configurations, whole_prediction


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; return 1 where an operation on a GPU is not that of its reference."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--predict", action="store_true", help="predict only, also where there is a GPU")
    parser.add_argument("--write", action="store_true", help="with --predict: put the predictions into docs/gpu.md")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--minutes", type=float, default=10.0, help="at most, about")
    options = parser.parse_args(arguments)
    import torch

    predicted = whole_prediction()
    if options.predict or not torch.cuda.is_available():
        if options.write:
            page.write_page(page.prediction_text(predicted))
        print(json.dumps(predicted, indent=1) if options.json else page.prediction_text(predicted))
        return 0
    measured = measure(options.minutes, is_silent=options.json)
    page.save(measured, predicted)
    print(json.dumps({"measured": measured, "predicted": predicted}, indent=1) if options.json else "")
    return int(not all(row["is_met"] for row in measured["parity"]))


def measure(minutes: float, *, is_silent: bool) -> dict[str, Any]:
    """Measure all on the GPU of this machine, the most telling first, until the time is over."""
    import torch

    from benchmarks.gpu import measurement, peers
    from benchmarks.measuring import describe_machine

    device, started_s = torch.device("cuda"), time.perf_counter()
    found: dict[str, Any] = {**describe_machine(), "device": torch.cuda.get_device_name(device), "is_predicted": False}

    def say(name: str, rows: Any) -> None:  # noqa: ANN401 -- JSON
        found[name] = rows
        if not is_silent:
            print(f"{time.perf_counter() - started_s:5.0f} s  {name}: {json.dumps(rows)}", flush=True)

    say("parity", list(measurement.parity(device)))
    say("operations", list(measurement.operation_times(device)))
    if measurement.within(0.2 * 60 * minutes, started_s):
        say("peers", list(peers.compared(device, peers.installed_peers())))
    trained: dict[str, Any] = {}
    for name, (config, vocab_size) in configurations().items():
        for form in ("eager", "compiled"):
            if measurement.within(0.6 * 60 * minutes, started_s):
                run = replace(config, engine=replace(config.engine, compile=form == "compiled"))
                trained[f"{name}, {form}"] = measurement.training(run, vocab_size, device)
                say("training", trained)
    base, _ = configurations()["base"]
    if measurement.within(0.8 * 60 * minutes, started_s):
        say("long_sequences", list(measurement.long_sequences(base, device)))
        say("generation", measurement.generation(base, device))
    if measurement.within(0.9 * 60 * minutes, started_s):
        say("is_resumed_exactly", measurement.is_resumed_exactly("cuda"))
    return found


if __name__ == "__main__":
    sys.exit(main())
