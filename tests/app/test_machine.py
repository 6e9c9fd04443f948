"""What `mambrane info` says of this machine."""

from pathlib import Path

import mambrane
from mambrane.app.machine import cache_folders, machine_facts
from mambrane.ops.warm_up import compile_kernels


def test_the_folder_of_the_kernels_is_the_one_that_holds_them():
    compile_kernels(lambda message: None, ["gated_skip"])
    folders = cache_folders()["compiled kernels"]
    assert any(path.name.endswith(".kernel") for folder in folders for path in Path(folder).rglob("*"))
    assert "in 0 files" not in machine_facts()["cache folders"]["compiled kernels"]


def test_the_version_is_the_packages_own():
    assert machine_facts()["mambrane"] == mambrane.__version__
