"""Tasks of a kernel on several threads: each is done once, whatever the threads, callers and forks."""

import multiprocessing
import threading

import numpy as np
import pytest
import torch

from mambrane.kernels.threads import SMALL_WORK_NS, parallel_for


def count(first, last, done, lock):
    with lock:
        done[first:last] += 1


@pytest.mark.parametrize("work_ns", [0, SMALL_WORK_NS])
@pytest.mark.parametrize("num_tasks", [1, 2, 7, 100])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_task_is_done_exactly_once(num_tasks, threads, work_ns, num_threads):
    num_threads(threads)
    done = np.zeros(num_tasks, dtype=int)
    parallel_for(count, num_tasks, done, threading.Lock(), work_ns=work_ns)
    assert (done == 1).all()


def test_little_work_stays_on_the_calling_thread(num_threads, monkeypatch):
    num_threads(4)
    monkeypatch.setattr("mambrane.kernels.threads.SMALL_WORK_NS", 10)
    workers = []
    parallel_for(lambda *_: workers.append(threading.get_ident()), 100, work_ns=9)
    assert workers == [threading.get_ident()]


def test_an_error_in_any_thread_reaches_the_caller(num_threads):
    num_threads(2)

    def fails(first, last):
        if last == 8:
            raise FloatingPointError("task 7")

    with pytest.raises(FloatingPointError, match="task 7"):
        parallel_for(fails, 8, work_ns=SMALL_WORK_NS)


def test_several_callers_at_once_get_their_own_results(num_threads):
    num_threads(2)
    done = np.zeros((4, 50), dtype=int)
    work = {"work_ns": SMALL_WORK_NS}
    callers = [
        threading.Thread(target=parallel_for, args=(count, 50, row, threading.Lock()), kwargs=work) for row in done
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (done == 1).all()


def run_in_child(queue):
    torch.set_num_threads(2)
    done = np.zeros(20, dtype=int)
    parallel_for(count, 20, done, threading.Lock(), work_ns=SMALL_WORK_NS)
    queue.put(done.tolist())


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_child_has_threads_of_its_own(num_threads):
    num_threads(2)
    parallel_for(count, 20, np.zeros(20, dtype=int), threading.Lock(), work_ns=SMALL_WORK_NS)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=run_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == [1] * 20
    child.join()
