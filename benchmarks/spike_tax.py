"""What spikes cost: the hybrid model minus a plain Mamba of as many parameters, in pairs of equal seeds and text.

    python -m benchmarks.spike_tax --text PATH/tinyshakespeare.txt [--domains python english] [--seeds 0 1 2]

Both are trained as in benchmarks/tiny_shakespeare.py: 2,000 steps of 12 x 64 tokens, parameters equal within 1 %. A
text of one's own is read by characters (at most 0.83 M parameters), built-in domains by bytes (24,448 more, as the
alphabet is longer). The difference is below zero where spikes pay.

`--models` adds two more: the hybrid and the plain Mamba, each taught by the trained plain Mamba of the same seed
(continual/distillation.py: strength and temperature 1). The second is the control of the first: what teaching gives.

`--steps 13021` trains on ten million tokens; such rows have a name of their own: "tinyshakespeare, 13,021 steps".

A model that the result file holds already is not trained again, so an interrupted run goes on; several processes, of
other seeds or texts, can share the file. A plain Mamba that has to be trained as a teacher is one of its rows too.
"""

import argparse
import io
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from filelock import FileLock
from torch import nn

from benchmarks.tiny_shakespeare import CONTENDERS, NUM_STEPS, CharacterTokenizer, judged, train
from mambrane.continual.config import ContinualConfig
from mambrane.continual.distillation import Distillation, frozen_copy
from mambrane.core.device import describe_environment
from mambrane.core.events import EventLog
from mambrane.data.builtin.installed import builtin_sources
from mambrane.data.cache_folder import cache_folder
from mambrane.data.config import DataConfig
from mambrane.data.domains import load_domains
from mambrane.data.tokens import TokenFile, token_file_from
from mambrane.storage.atomic_files import atomic_write_bytes, atomic_write_text
from mambrane.studies.statistics import paired_difference

RESULTS = Path(__file__).parent / "results" / "spike_tax.json"
TAUGHT = " taught by mamba"
PLAIN = "mamba"
MODELS = ("hybrid", PLAIN, "hybrid" + TAUGHT, PLAIN + TAUGHT)
"""Each is compared with `PLAIN`, which is also the teacher."""
TEACHING = ContinualConfig(continual_learning=True, distillation_strength=1.0, distillation_temperature=1.0)
LARGEST_DIFFERENCE = 0.01
"""Part by which the parameters of the two may differ."""
FIRING = (0.02, 0.3)
"""Spikes per neuron and token between which a population is neither silent nor always on."""
FEWEST_FOR_AN_INTERVAL = 3
"""Pairs of whose difference an interval is shown."""
FEWEST_TIMED = 10
"""Pairs of which a median of times is shown."""
BYTES_OF_A_DOMAIN = 3_000_000

Splits = tuple[TokenFile, TokenFile, int]
"""Training text, held-out text, size of the vocabulary."""


def splits_of_file(path: Path) -> Splits:
    """Return the first nine tenths of a text, the last tenth, and the number of characters."""
    text = path.read_bytes()
    tokenizer, cut = CharacterTokenizer(text), len(text) * 9 // 10
    train_tokens, heldout = (token_file_from([part], tokenizer) for part in (text[:cut], text[cut:]))
    return train_tokens, heldout, tokenizer.vocab_size


def splits_of_domain(name: str) -> Splits:
    """Return the training and the held-out text of a built-in domain, as bytes."""
    config = DataConfig(max_domain_bytes=BYTES_OF_A_DOMAIN, max_heldout_bytes=100_000)
    tokenizer, domains = load_domains(config, cache_folder(), EventLog())
    (domain,) = (domain for domain in domains if domain.name == name)
    return domain.train, domain.heldout, tokenizer.vocab_size


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the models that are missing, write each as it ends, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="tinyshakespeare.txt")
    parser.add_argument("--domains", nargs="*", default=[], help="built-in domains: python, english, ...")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--steps", type=int, default=NUM_STEPS)
    parser.add_argument("--models", nargs="+", default=MODELS[:2], choices=MODELS)
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file; models that it holds are kept")
    parser.add_argument(
        "--teachers", type=Path, default=cache_folder() / "spike-tax", help="folder for the weights of plain Mambas"
    )
    options = parser.parse_args(arguments)
    known = [source.name for source in builtin_sources()] if options.domains else []
    for name in options.domains:
        if name not in known:
            parser.error(f"--domains {name}: no built-in domain of that name; there are {', '.join(known)}")
    texts = {options.text.stem: lambda: splits_of_file(options.text)} if options.text else {}
    texts |= {name: lambda name=name: splits_of_domain(name) for name in options.domains}
    for text, read in texts.items():
        name = text if options.steps == NUM_STEPS else f"{text}, {options.steps:,} steps"
        splits = read()
        for seed in options.seeds:
            teacher_file = options.teachers / f"{name}-{seed}.pt"
            add_missing(options.output, name, seed, options.models, splits, teacher_file, num_steps=options.steps)
    print_table(rows_of(options.output))


def add_missing(
    output: Path, text: str, seed: int, models: Sequence[str], splits: Splits, teacher_file: Path, *, num_steps: int
) -> None:
    """Measure the models of one text and seed that the result file lacks, and the teacher before those it is to teach.

    The teacher is a row of its own, so that none of its time stands in the row of a model that it taught.
    """
    for model in models:
        if (text, seed, model) in map(key_of, rows_of(output)):
            continue
        needs_teacher = model.endswith(TAUGHT) and not teacher_file.exists()
        for name in (PLAIN, model) if needs_teacher else (model,):
            add_row(output, {"text": text} | measure(name, seed, splits, teacher_file, num_steps=num_steps))


def measure(name: str, seed: int, splits: Splits, teacher_file: Path, *, num_steps: int = NUM_STEPS) -> dict:
    """Train and evaluate one model; a plain Mamba leaves its weights in the file, and others are taught by it."""
    start_s = time.perf_counter()
    train_tokens, heldout, vocab_size = splits
    contender = CONTENDERS[name.removesuffix(TAUGHT)]

    def taught(model: nn.Module) -> Distillation:
        distillation = Distillation(TEACHING, model)
        distillation.teacher = frozen_copy(CONTENDERS[PLAIN].build(vocab_size, torch.Generator()))
        distillation.teacher.load_state_dict(torch.load(teacher_file, weights_only=True))
        return distillation

    method = taught if name.endswith(TAUGHT) else None
    model, numbers = train(contender, seed, train_tokens, vocab_size, num_steps=num_steps, method=method)
    if name == PLAIN:
        teacher_file.parent.mkdir(parents=True, exist_ok=True)
        weights = io.BytesIO()
        torch.save(model.state_dict(), weights)
        # A file that a kill has cut would be taken for the teacher ever after.
        atomic_write_bytes(teacher_file, weights.getvalue())
    row = judged(model, numbers, heldout, vocab_size)
    del row["firing_rates"]
    return {"model": name, "seed": seed, **row, "seconds": time.perf_counter() - start_s}


def rows_of(path: Path) -> list[dict]:
    """Return the rows that a result file holds; none where there is no file."""
    return json.loads(path.read_text())["rows"] if path.exists() else []


def add_row(path: Path, row: dict) -> None:
    """Write a row behind those that the file holds by now, whoever wrote them; a model that it holds already stays."""
    with FileLock(path.with_suffix(".lock")):
        rows = rows_of(path)
        if key_of(row) in map(key_of, rows):
            return
        environment = describe_environment(torch.device("cpu"))
        # In one step: others read the file while it is written, and a kill leaves the rows of the old one.
        atomic_write_text(path, json.dumps({"environment": environment, "rows": [*rows, row]}, indent=1) + "\n")


def key_of(row: dict) -> tuple[str, int, str]:
    """Return which model a row is of: text, seed, model."""
    return row["text"], row["seed"], row["model"]


def print_table(rows: list[dict]) -> None:
    """Print each model's loss on each text, its paired difference to the plain Mamba with a 95 % interval, and time.

    The time is that of training over the plain Mamba's, the median of many pairs, as some ran beside other work.
    """
    print(f"| text | model | pairs | nats | plain Mamba | difference (95 % interval) | firing | time |\n|{'---|' * 8}")
    for text in sorted({row["text"] for row in rows}):
        by_model = {name: {r["seed"]: r for r in rows if (r["text"], r["model"]) == (text, name)} for name in MODELS}
        for name in (name for name in MODELS if name != PLAIN):
            seeds = sorted(by_model[name].keys() & by_model[PLAIN].keys())
            if not seeds:
                continue
            pairs = [(by_model[name][seed], by_model[PLAIN][seed]) for seed in seeds]
            sizes = [row["parameters"] for row in pairs[0]]
            assert abs(sizes[0] / sizes[1] - 1) <= LARGEST_DIFFERENCE, f"{sizes} parameters are not equal"
            assert all(row["spikes_are_binary"] for row, _ in pairs)
            nats = [[row["nats_per_character"] for row in pair] for pair in pairs]
            times = [ours["seconds"] / plain["seconds"] for ours, plain in pairs]
            rates = [row["firing_rate"] for row, _ in pairs if row["firing_rate"] is not None]
            assert all(FIRING[0] <= rate <= FIRING[1] for rate in rates), (
                f"{rates}: neurons that are silent or always on"
            )
            print(
                f"| {text} | {name} | {len(pairs)} | {statistics.mean(ours for ours, _ in nats):.4f} "
                f"| {statistics.mean(plain for _, plain in nats):.4f} | {difference_text(nats)} "
                f"| {f'{statistics.mean(rates):.1%}' if rates else '-'} "
                f"| {f'{statistics.median(times):.1f} x' if len(times) >= FEWEST_TIMED else '-'} |"
            )


def difference_text(nats: Sequence[Sequence[float]]) -> str:
    """Return the mean difference of pairs and its 95 % interval; no interval for fewer than three pairs."""
    found = paired_difference([ours for ours, _ in nats], [plain for _, plain in nats])
    if found.num_pairs < FEWEST_FOR_AN_INTERVAL:
        return f"{found.mean:+.4f}"
    return f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f})"


if __name__ == "__main__":
    main()
