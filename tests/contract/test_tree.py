"""The tree stays readable: no file outgrows one sitting, every file has its test, and the README names every room."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST_LINES = 300
LONGEST_KERNEL_LINES = 390
"""A file of kernels holds forward and backward of one operation; cutting it in two would part them."""

WITHOUT_TEST = {
    "core/shapes.py": "names of types, checked wherever tests run",
    "core/stateful.py": "a protocol",
    "tasks/kind.py": "a protocol; tests/tasks/test_kinds.py tests what fills it",
}
"""Files without a test of their own name, and why."""


def test_no_file_of_the_package_is_longer_than_the_limit():
    too_long = {}
    for path in (ROOT / "mambrane").rglob("*.py"):
        num_lines = len(path.read_text(encoding="utf-8").splitlines())
        limit = LONGEST_KERNEL_LINES if path.name in ("numba_cpu.py", "triton_kernels.py") else LONGEST_LINES
        if num_lines > limit:
            too_long[str(path.relative_to(ROOT))] = num_lines
    assert too_long == {}


def test_the_tree_of_the_readme_names_every_room():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = readme.split("## The tree")[1]
    rooms = [path.parent.name for path in (ROOT / "mambrane").glob("*/__init__.py")]
    assert [room for room in rooms if f"\n  {room}/" not in tree] == []


def test_every_file_has_its_test_where_it_is_itself_and_a_folder_of_kernels_one_for_all():
    package, tests = ROOT / "mambrane", ROOT / "tests"
    missing = set()
    for path in package.rglob("*.py"):
        name = path.relative_to(package)
        if name.parts[0] == "ops" and len(name.parts) > 2:
            wanted = tests / "ops" / f"test_{name.parts[1]}.py"
        elif "token_program" in name.parts:
            wanted = tests / name.parent / "test_program.py"
        else:
            wanted = tests / name.parent / f"test_{name.stem.strip('_')}.py"
        if path.name != "__init__.py" and not wanted.exists():
            missing.add(name.as_posix())
    assert missing == set(WITHOUT_TEST)
