"""Every script finds what it imports from the project, so that a name that moves takes its scripts along."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    str(file.relative_to(ROOT)) for folder in ("benchmarks", "scripts") for file in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_finds_what_it_imports_from_the_project(script):
    tree = ast.parse((ROOT / script).read_text(encoding="utf-8"))
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").split(".")[0] == "mambrane":
            for name in statement.names:
                module = importlib.import_module(statement.module)
                assert hasattr(module, name.name) or importlib.import_module(f"{statement.module}.{name.name}")
