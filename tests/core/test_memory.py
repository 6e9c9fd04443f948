"""Freed memory stays in the process. In a process of its own: the setting cannot be taken back."""

import platform
import subprocess
import sys

import pytest

PAGE_FAULTS_OF_FOUR_ALLOCATIONS = """
import resource, sys
import torch
from mambrane.core.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def allocate(times):
    for _ in range(times):
        torch.ones(16_000_000)

allocate(12)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
allocate(4)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(word: str) -> int:
    command = [sys.executable, "-c", PAGE_FAULTS_OF_FOUR_ALLOCATIONS, word]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_memory_that_was_freed_is_found_again_without_page_faults():
    assert page_faults("keep") * 10 < page_faults("as usual")
