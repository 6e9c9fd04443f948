"""What every test relies on: one thread for each process, and examples of Hypothesis that no clock can fail."""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

# Before torch is imported, and inherited by the programs that tests start: tensors are tiny here, and the processes
# share the cores (pytest -n).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Triton reads this when it is imported, and then runs kernels on CPU tensors; where there is a GPU they run there.
if not Path("/dev/nvidiactl").exists() and not Path("/dev/kfd").exists():
    os.environ.setdefault("TRITON_INTERPRET", "1")

# What Hypothesis is set to already stays: where the variable CI is set it draws the same examples in each run.
settings.register_profile("mambrane", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mambrane")
