"""A model of what a disk may have forgotten when the power goes: everything that was not synced.

A kill leaves the page cache to the next process, so only a model can tell whether the syncs are in the right places.
Each file is a list of written blocks, each folder a list of changes of its names; fsync marks the list as safe up to
its end. After a power cut any beginning of a list that is not shorter than its safe part may be what is left; the
lists of different files and folders are independent of each other.
Source: T. S. Pillai et al., All File Systems Are Not Created Equal, OSDI 2014 (the same kind of model, with ALICE).
"""

import copy
import os
import random
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Node:
    """A file (log of blocks) or a folder (log of changes: (name, Node), (name, None) or (old name, new name))."""

    is_folder: bool
    log: list = field(default_factory=list)
    num_safe: int = 0

    def names(self, length):
        """The entries of a folder after its first `length` changes."""
        entries = {}
        for first, second in self.log[:length]:
            if isinstance(second, str):
                entries[second] = entries.pop(first)
            elif second is None:
                del entries[first]
            else:
                entries[first] = second
        return entries


def read_node(path):
    """A node for what lies at a path, everything of it safe."""
    if path.is_dir():
        node = Node(True, [(child.name, read_node(child)) for child in sorted(path.iterdir())])
    else:
        node = Node(False, [path.read_bytes()])
    node.num_safe = len(node.log)
    return node


class Recorder:
    """Records the changing calls of `os` below a folder; `moments` holds the disk after each of them."""

    def __init__(self, folder):
        self.folder, self.root = folder, read_node(folder)
        self.moments, self.open_nodes, self.originals = [copy.deepcopy(self.root)], {}, {}

    def __enter__(self):
        for name in ("open", "write", "fsync", "mkdir", "rename", "replace", "unlink", "rmdir"):
            self.originals[name] = getattr(os, name)
            setattr(os, name, self.wrap(self.originals[name], getattr(self, f"on_{name}")))
        return self

    def __exit__(self, *_):
        for name, original in self.originals.items():
            setattr(os, name, original)

    def wrap(self, original, record):
        def call(*arguments, **options):
            result = original(*arguments, **options)
            record(result, *arguments, **options)
            self.moments.append(copy.deepcopy(self.root))
            return result

        return call

    def node(self, path):
        node = self.root
        for name in Path(path).relative_to(self.folder).parts:
            node = node.names(len(node.log))[name]
        return node

    def change(self, path, second, dir_fd=None):
        """Note a change of a name in its folder."""
        parent = self.node(Path(path).parent) if dir_fd is None else self.open_nodes[dir_fd]
        parent.log.append((Path(path).name, second))

    def on_open(self, descriptor, path, flags, mode=0o777, *, dir_fd=None):
        if flags & os.O_CREAT:
            assert flags & os.O_EXCL, "the model knows new files only"
            self.change(path, Node(False))
        if dir_fd is None:
            self.open_nodes[descriptor] = self.node(path)
        else:
            self.open_nodes[descriptor] = self.open_nodes[dir_fd].names(None)[Path(path).name]

    def on_write(self, count, descriptor, block):
        self.open_nodes[descriptor].log.append(bytes(block[:count]))

    def on_fsync(self, _, descriptor):
        node = self.open_nodes[descriptor]
        node.num_safe = len(node.log)

    def on_mkdir(self, _, path, mode=0o777):
        self.change(path, Node(True))

    def on_rename(self, _, source, target):
        assert Path(source).parent == Path(target).parent, "the model knows one folder at a time"
        self.change(source, Path(target).name)

    def on_unlink(self, _, path, *, dir_fd=None):
        self.change(path, None, dir_fd)

    on_replace, on_rmdir = on_rename, on_unlink


def loss(length_of):
    """Return a function from a node to what a power cut leaves of it: bytes, or a dict of names."""

    def survives(node):
        length = length_of(node)
        if not node.is_folder:
            return b"".join(node.log[:length])
        return {name: survives(child) for name, child in node.names(length).items()}

    return survives


def any_beginning(seed):
    generator = random.Random(seed)
    return lambda node: generator.randint(node.num_safe, len(node.log))


LOSSES = {
    "everything, as after a kill": loss(lambda node: len(node.log)),
    "only what is safe": loss(lambda node: node.num_safe),
    "all names, safe contents": loss(lambda node: len(node.log) if node.is_folder else node.num_safe),
    "safe names, all contents": loss(lambda node: node.num_safe if node.is_folder else len(node.log)),
    **{f"by chance {seed}": loss(any_beginning(seed)) for seed in range(3)},
}
"""What the disk still has, from the worst case for names to the worst case for contents."""


def different(disks):
    """The disks without repetitions."""
    return {repr(disk): disk for disk in disks}.values()


def write_disk(disk, path):
    """Write bytes to a file, or a dict of names to a folder."""
    if isinstance(disk, bytes):
        path.write_bytes(disk)
        return
    path.mkdir()
    for name, child in disk.items():
        write_disk(child, path / name)
