"""One thread for each test process: tensors are tiny here, and the processes share the cores (pytest -n)."""

import os

# Before torch is imported, and inherited by the programs that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
