"""Puts `mambrane serve` under load on this machine: `python benchmarks/serving.py RUN --clients 8 --requests 64`.

Starts the server on a free port of 127.0.0.1, asks it with OpenAI's client from many threads at once, and prints tokens
per second, the time to the first piece and to the end, refusals, and how its memory grew. It stops by itself.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def main() -> None:
    """Start, ask, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128)
    arguments = parser.parse_args()
    words = [sys.executable, "-m", "mambrane", "serve", str(arguments.run), "--port", "0"]
    words += ["--max-waiting", str(arguments.clients)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = re.match(r"(http\S+)", server.stdout.readline()).group(1)
            print(json.dumps(measure(url, arguments, server.pid), indent=2))
        finally:
            server.terminate()


def measure(url: str, arguments: argparse.Namespace, pid: int) -> dict[str, float]:
    """Return what the load gave."""
    from openai import OpenAI, RateLimitError

    client = OpenAI(base_url=url, api_key="none", max_retries=0)
    model = client.models.list().data[0].id

    def ask(seed: int) -> tuple[float, float, int] | None:
        started_s, first_s, tokens = time.perf_counter(), 0.0, 0
        try:
            pieces = client.completions.create(
                model=model,
                prompt="The ",
                max_tokens=arguments.tokens,
                seed=seed,
                stream=True,
                stream_options={"include_usage": True},
            )
            for piece in pieces:
                first_s = first_s or time.perf_counter() - started_s
                tokens = piece.usage.completion_tokens if piece.usage else tokens
        except RateLimitError:
            return None
        return first_s, time.perf_counter() - started_s, tokens

    ask(0)
    before_kb, started_s = memory_kb(pid), time.perf_counter()
    with ThreadPoolExecutor(arguments.clients) as clients:
        answers = list(clients.map(ask, range(1, arguments.requests + 1)))
    seconds = time.perf_counter() - started_s
    served = [answer for answer in answers if answer is not None]
    return {
        "clients": arguments.clients,
        "served": len(served),
        "refused": len(answers) - len(served),
        "tokens_per_s": round(sum(tokens for _, _, tokens in served) / seconds, 1),
        "first_piece_s_median": round(statistics.median(first for first, _, _ in served), 3),
        "whole_s_median": round(statistics.median(whole for _, whole, _ in served), 3),
        "memory_grew_kb": memory_kb(pid) - before_kb,
    }


def memory_kb(pid: int) -> int:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


if __name__ == "__main__":
    main()
