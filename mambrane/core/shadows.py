"""Files of a user that Python takes for its own modules, or for those that Mambrane needs: random.py, torch.py."""

import os
import sys

NEEDED = ("llvmlite", "numba", "numpy", "rich", "safetensors", "tokenizers", "torch", "tyro")


def shadowing_files() -> list[str]:
    """Return the files in the folders of PYTHONPATH and in the working folder that stand before modules of that name.

    Nothing that could itself be shadowed is imported for it: only what runs before any program does.
    """
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    folders = [folder for folder in sys.path if folder in named or folder == ""]
    found = []
    for folder in dict.fromkeys(folders):
        try:
            names = sorted(os.listdir(folder or os.curdir))
        except OSError:
            continue
        for name in names:
            stem, dot, _ = name.partition(".py")
            if name == f"{stem}{dot}" and dot and (stem in sys.stdlib_module_names or stem in NEEDED):
                found.append(os.path.join(folder, name))
    return found
