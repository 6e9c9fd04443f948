"""How long torch's threads wait awake for their next task. Free of torch: it must be said before torch is loaded.

By default they spin for milliseconds after each product, on the cores that the threads of our kernels then need; what a
short spin is worth, docs/performance.md says.
Source: GNU libgomp manual, GOMP_SPINCOUNT.
"""

import os

SHORT_SPIN = "5000"
"""Turns of libgomp's waiting loop: some ten microseconds."""


def limit_openmp_spin() -> None:
    """Keep torch's idle threads from spinning for long; a value that the user has set stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SHORT_SPIN)
