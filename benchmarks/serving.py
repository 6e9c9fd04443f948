"""Puts `mambrane serve` under load on this machine: `python benchmarks/serving.py RUN --clients 8 --requests 64`.

Starts the server on a free port of 127.0.0.1, asks it with OpenAI's client from many threads at once, and prints tokens
per second, the time to the first piece and to the end, refusals, and how its memory grew. Then one talk of so many
turns: the time until each turn's first piece, with states kept and without. It stops by itself.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path


def main() -> None:
    """Start, ask, measure, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--turns", type=int, default=8)
    arguments = parser.parse_args()
    with serving(arguments) as (url, pid):
        measured = {"load": measure(url, arguments, pid), "talk, states kept": talk(url, arguments.turns, pid)}
    with serving(arguments, "--kept-states", "0") as (url, pid):
        measured["talk, none kept"] = talk(url, arguments.turns, pid)
    print(json.dumps(measured, indent=2))


@contextmanager
def serving(arguments: argparse.Namespace, *words: str) -> Iterator[tuple[str, int]]:
    """Yield address and process id of a server, which ends with the block."""
    command = [sys.executable, "-m", "mambrane", "serve", str(arguments.run), "--port", "0"]
    command += ["--max-waiting", str(arguments.clients), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield re.match(r"(http\S+)", server.stdout.readline()).group(1), server.pid
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


def talk(url: str, num_turns: int, pid: int) -> dict[str, list[float]]:
    """Return what each turn of one talk took, in which every turn says about 2000 more characters."""
    from openai import OpenAI

    client = OpenAI(base_url=url, api_key="none", max_retries=0)
    model = client.models.list().data[0].id
    messages: list[dict[str, str]] = []
    seconds, memory_kbs = [], []
    for turn in range(num_turns):
        messages.append({"role": "user", "content": f"turn {turn}: " + "what was said before goes on here " * 60})
        started_s, answer = time.perf_counter(), ""
        for piece in client.chat.completions.create(
            model=model, messages=messages, max_tokens=64, seed=turn, stream=True
        ):
            if not answer and piece.choices[0].delta.content:
                seconds.append(round(time.perf_counter() - started_s, 3))
            answer += piece.choices[0].delta.content or ""
        messages.append({"role": "assistant", "content": answer})
        memory_kbs.append(memory_kb(pid))
    return {"first_piece_s": seconds, "memory_grew_kb": [each - memory_kbs[0] for each in memory_kbs]}


def memory_kb(pid: int) -> int:
    """Return the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


if __name__ == "__main__":
    main()
