"""Shares the tasks of a compiled kernel out over threads.

A kernel does the tasks first, ..., last - 1; a task is one sequence and one block of channels, and its arithmetic does
not depend on who does it, so any number of threads gives the same bits. The threads are Python's own (the kernels
release the interpreter lock), as many as torch uses. Numba's parallel loops are not used: of its layers, workqueue
ends the process when two threads call it at once, omp when a forked child does, and tbb is rarely installed.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

SMALL_WORK_NS = 200_000
"""Work under which waking another thread costs more than it saves: about 100 us in the middle of a training step."""

SMALL_STEP_PRODUCTS = 200_000_000
"""Multiply-adds of a model's step under which one thread does it all: its operations are too short to be shared out,
and on a busy machine each waits for the slowest thread (docs/experiments/speed.md)."""

_MAX_THREADS = 256
_PARTS_PER_THREAD = 4


def _new_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="mambrane-kernel")


_pool = _new_pool()


def _renew_pool() -> None:
    global _pool
    _pool = _new_pool()


# A forked child has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_pool)


@contextmanager
def one_thread_if_small(num_products: int) -> Iterator[None]:
    """Let torch and the kernels use one thread inside the block where its work is small; the numbers are the same.

    Args:
        num_products: multiply-adds inside the block, about.
    """
    num_threads = torch.get_num_threads()
    if num_products >= SMALL_STEP_PRODUCTS or num_threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def parallel_for(kernel: Callable[..., None], num_tasks: int, *arguments: object, work_ns: float | int) -> None:
    """Call kernel(first, last, *arguments) until every task from 0 to num_tasks - 1 has been done once.

    Args:
        kernel: compiled with nogil=True; different tasks never write to the same place.
        num_tasks: how many tasks there are.
        arguments: handed to every call.
        work_ns: about how long one thread takes for all tasks; little work stays on the calling thread.
    """
    num_threads = 1 if work_ns < SMALL_WORK_NS else min(torch.get_num_threads(), num_tasks)
    if num_threads == 1:
        kernel(0, num_tasks, *arguments)
        return
    # More parts than threads: a thread that the system holds up does fewer of them.
    num_parts = min(num_tasks, num_threads * _PARTS_PER_THREAD)
    parts = itertools.count()

    def work_on_parts() -> None:
        while (part := next(parts)) < num_parts:
            kernel(part * num_tasks // num_parts, (part + 1) * num_tasks // num_parts, *arguments)

    others = [_pool.submit(work_on_parts) for _ in range(num_threads - 1)]
    work_on_parts()
    for other in others:
        other.result()
