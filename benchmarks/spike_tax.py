"""What spikes cost: the hybrid model minus a plain Mamba of as many parameters, in pairs of equal seeds and text.

    python -m benchmarks.spike_tax --text PATH/tinyshakespeare.txt [--domains python english] [--seeds 0 1 2]

Both are trained as in benchmarks/tiny_shakespeare.py: 2,000 steps of 12 x 64 tokens, parameters equal within 1 %. A
text of one's own is read by characters (at most 0.83 M parameters), built-in domains by bytes (24,448 more, as the
alphabet is longer). A model that the result file holds already is not trained again, so an interrupted run goes on;
several processes, of other seeds or texts, can share the file. The difference is below zero where spikes pay.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from scipy.stats import bootstrap

from benchmarks.tiny_shakespeare import CharacterTokenizer, measure
from mambrane.core.device import describe_environment
from mambrane.core.events import EventLog
from mambrane.data.config import DataConfig
from mambrane.data.domains import load_domains
from mambrane.data.tokens import TokenFile, token_file_from
from mambrane.run.folders import cache_folder

RESULTS = Path(__file__).parent / "results" / "spike_tax.json"
ARMS = ("hybrid", "mamba")
LARGEST_DIFFERENCE = 0.01
"""Part by which the parameters of the two may differ."""
BYTES_OF_A_DOMAIN = 3_000_000


def splits_of_file(path: Path) -> tuple[TokenFile, TokenFile, int]:
    """Return the first nine tenths of a text, the last tenth, and the number of characters."""
    text = path.read_bytes()
    tokenizer, cut = CharacterTokenizer(text), len(text) * 9 // 10
    train_tokens, heldout = (token_file_from([part], tokenizer) for part in (text[:cut], text[cut:]))
    return train_tokens, heldout, tokenizer.vocab_size


def splits_of_domain(name: str) -> tuple[TokenFile, TokenFile, int]:
    """Return the training and the held-out text of a built-in domain, as bytes."""
    config = DataConfig(max_domain_bytes=BYTES_OF_A_DOMAIN, max_heldout_bytes=100_000)
    tokenizer, domains = load_domains(config, cache_folder(), EventLog())
    (domain,) = (domain for domain in domains if domain.name == name)
    return domain.train, domain.heldout, tokenizer.vocab_size


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the pairs that are missing, write each as it ends, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="tinyshakespeare.txt")
    parser.add_argument("--domains", nargs="*", default=[], help="built-in domains: python, english, ...")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file; pairs that it holds are kept")
    options = parser.parse_args(arguments)
    rows = rows_of(options.output)
    texts = {options.text.stem: lambda: splits_of_file(options.text)} if options.text else {}
    texts |= {name: lambda name=name: splits_of_domain(name) for name in options.domains}
    for name, splits in texts.items():
        train_tokens, heldout, vocab_size = splits()
        for seed in options.seeds:
            for arm in ARMS:
                if any((row["text"], row["seed"], row["model"]) == (name, seed, arm) for row in rows):
                    continue
                row = {"text": name, **measure(arm, seed, train_tokens, heldout, vocab_size)}
                rows = add_row(options.output, {key: value for key, value in row.items() if key != "firing_rates"})
    print_table(rows)


def rows_of(path: Path) -> list[dict]:
    """Return the rows that a result file holds; none where there is no file."""
    return json.loads(path.read_text())["rows"] if path.exists() else []


def add_row(path: Path, row: dict) -> list[dict]:
    """Write a row behind those that the file holds by now, whoever wrote them, and return all."""
    with FileLock(path.with_suffix(".lock")):
        rows = [*rows_of(path), row]
        environment = describe_environment(torch.device("cpu"))
        path.write_text(json.dumps({"environment": environment, "rows": rows}, indent=1) + "\n")
    return rows


def print_table(rows: list[dict]) -> None:
    """Print, for each text, the losses, their paired difference and its 95 % bootstrap interval."""
    print(f"| text | pairs | hybrid | plain Mamba | difference (95 % interval) | parameters | firing |\n|{'---|' * 7}")
    for text in dict.fromkeys(row["text"] for row in rows):
        by_arm = {arm: {row["seed"]: row for row in rows if (row["text"], row["model"]) == (text, arm)} for arm in ARMS}
        seeds = sorted(by_arm["hybrid"].keys() & by_arm["mamba"].keys())
        pairs = [[by_arm[arm][seed] for arm in ARMS] for seed in seeds]
        if not pairs:
            continue
        differences = np.array([ours["nats_per_character"] - plain["nats_per_character"] for ours, plain in pairs])
        sizes = [row["parameters"] for row in pairs[0]]
        assert abs(sizes[0] / sizes[1] - 1) <= LARGEST_DIFFERENCE, f"{sizes} parameters are not equal"
        assert all(ours["spikes_are_binary"] for ours, _ in pairs)
        means = [statistics.mean(row["nats_per_character"] for row in arm) for arm in zip(*pairs, strict=True)]
        firing = statistics.mean(ours["firing_rate"] for ours, _ in pairs)
        print(
            f"| {text} | {len(pairs)} | {means[0]:.4f} | {means[1]:.4f} "
            f"| {differences.mean():+.4f} {interval(differences)} | {sizes[0]:,} and {sizes[1]:,} | {firing:.1%} |"
        )


def interval(differences: np.ndarray) -> str:
    """Return the 95 % bootstrap interval of the mean, as text; none for fewer than three pairs."""
    if len(differences) < 3:
        return "(-)"
    found = bootstrap((differences,), np.mean, random_state=np.random.default_rng(0)).confidence_interval
    return f"({found.low:+.4f} to {found.high:+.4f})"


if __name__ == "__main__":
    main()
