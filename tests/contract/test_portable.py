"""Windows and macOS, simulated: what they lack is taken away in a process before Mambrane is imported there.

Nothing here was tried on those systems. What libraries do there (torch, filelock, Python itself) is not simulated: they
are imported first, whole.
"""

import subprocess
import sys

LACKING = """
import importlib, os, pathlib, pkgutil, signal, sys

# Libraries as they are here.
import filelock, matplotlib.figure, numba, rich.console, safetensors.torch, tokenizers, torch, tyro

for module in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"):
    sys.modules[module] = None
for name in (
    "O_DIRECTORY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "pread", "pwrite", "mkfifo", "fork", "register_at_fork",
    "sched_getaffinity", "getuid", "geteuid", "getgid", "killpg", "setsid", "uname", "fchmod", "sysconf",
):
    delattr(os, name)
for name in ("SIGHUP", "SIGPIPE", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "pthread_kill", "setitimer"):
    delattr(signal, name)
    signal.Signals._member_map_.pop(name, None)

# What Windows has in addition: a flag without which the system alters line ends. Here it changes nothing (O_LARGEFILE).
os.O_BINARY = 0x8000
opened, open_file = [], os.open
def record(path, flags, *arguments, **options):
    opened.append((path, flags))
    return open_file(path, flags, *arguments, **options)
os.open = record

import mambrane
for module in pkgutil.walk_packages(mambrane.__path__, "mambrane."):
    importlib.import_module(module.name)
"""

WORK = """
import numpy as np
from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.tokens_on_disk import TokensOnDisk
from mambrane.engine.signals import WATCHED_SIGNALS
from mambrane.storage.checkpoint import Checkpoints
from mambrane.storage.run_folder import RunFolder

run = RunFolder(pathlib.Path(sys.argv[1]) / "new" / "run")
with run.lock():
    try:
        with RunFolder(run.path).lock():
            raise SystemExit("locked twice")
    except UserError as refusal:
        assert f"in use by process {os.getpid()} on " in str(refusal), refusal
    run.match_or_create({"seed": 1})
    Checkpoints(run.checkpoints_folder, keep=2, events=EventLog()).save(
        3, {"part": {"lines": "a\\r\\nb\\n\\x1a"}}, weights={"model": {"w": torch.arange(10.0)}}
    )
with run.lock():
    checkpoint = Checkpoints(run.checkpoints_folder, keep=2, events=EventLog()).load_newest()
assert checkpoint.parts["part"] == {"lines": "a\\r\\nb\\n\\x1a"}
assert torch.equal(checkpoint.weights["model"]["w"], torch.arange(10.0))

file = run.path / "tokens.bin"
file.write_bytes(np.arange(1000, dtype="<u2").tobytes())
tokens = TokensOnDisk(file, np.dtype("<u2"))
assert tokens[7:300].tolist() == list(range(7, 300)) and tokens[:3].tolist() == [0, 1, 2]
assert [number.name for number in WATCHED_SIGNALS] == ["SIGTERM", "SIGINT"]
created = [(path, flags) for path, flags in opened if flags & os.O_CREAT]
assert len(created) > 4 and all(flags & os.O_BINARY for _, flags in created), created
print("done")
"""

WITHOUT_NATIVE_LOCKS = """
import pathlib, sys, warnings
sys.modules["fcntl"] = None
warnings.simplefilter("ignore")
from mambrane.core.errors import UserError
from mambrane.storage.run_folder import RunFolder
try:
    with RunFolder(pathlib.Path(sys.argv[1])).lock():
        print("locked")
except UserError as refusal:
    print(refusal.found, refusal.wanted, refusal.way_out, sep="; ")
"""


def run(program, folder):
    found = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False, timeout=120
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_every_module_works_without_what_windows_lacks(tmp_path):
    assert run(LACKING + WORK, tmp_path) == "done\n"


def test_where_the_system_has_no_locks_the_folder_is_refused_and_no_weaker_lock_is_taken(tmp_path):
    said = run(WITHOUT_NATIVE_LOCKS, tmp_path)
    assert "cannot lock" in said
    assert "--output-dir" in said
