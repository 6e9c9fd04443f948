"""Images as documents of bytes, and their classes shared out over tasks: split-MNIST and its like.

    document = the image in reading order (--image-tokens: image_tokens.py), then its label, a byte each

    --scenario domain        a task's classes are 0, 1, ...: the same labels in each task
    --scenario class         a label is its class: the labels grow with the tasks

A task has --classes-per-task classes, in the order of their numbers. Where --max-domain-bytes or --max-heldout-bytes
leaves images out, each class keeps the part that it has of all, spread over the whole set. Labels are bytes that images
hardly hold, those of most changes between 0 and 1.

Sources of the scenarios: Hsu et al., Re-evaluating Continual Learning Scenarios (arXiv 1810.12488); van de Ven and
Tolias (arXiv 1904.07734).
"""

import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mambrane.core.errors import UserError
from mambrane.core.events import EventLog
from mambrane.data.cache import hash_of, obtain_folder
from mambrane.data.config import DataConfig
from mambrane.data.corpus import Corpus
from mambrane.data.heldout_copy import hash_of_documents
from mambrane.data.image_tokens import elements_of, tokens_of
from mambrane.data.images import ImageSet, LabelledImages, read_image_set, stamp_of
from mambrane.storage.atomic_files import FileRecord, write_new_file

FORMAT_VERSION = 2


def label_bytes(num_labels: int) -> list[int]:
    """Return the byte of each label: those with the most changes between neighbouring bits, smaller ones first."""
    changes = [bin((byte ^ (byte >> 1)) & 0x7F).count("1") for byte in range(256)]
    return sorted(range(256), key=lambda byte: -changes[byte])[:num_labels]


def num_image_tasks(config: DataConfig) -> int:
    """Return how many tasks the classes make; reads the images.

    Raises:
        UserError: as `image_corpora`.
    """
    return len(_tasks_of(read_image_set(_location(config)), config))


def tokens_per_image(config: DataConfig) -> int:
    """Return how many tokens a model reads of an image: its bytes behind END_OF_TEXT.

    Raises:
        UserError: as `image_corpora`.
    """
    return 1 + _encoded(read_image_set(_location(config)).train.images[:1], config).shape[1]


def element_rows_and_columns(config: DataConfig) -> tuple[int, int]:
    """Return how many rows and columns of elements (image_tokens.py) an image has; reads the images.

    Raises:
        UserError: as `image_corpora`.
    """
    one = torch.tensor(read_image_set(_location(config)).train.images[:1])
    rows, columns = elements_of(one, config.image_tokens).shape[1:]
    return rows, columns


def image_corpora(
    config: DataConfig, cache_dir: Path, events: EventLog, num_domains: int | None, order: Sequence[int] | None = None
) -> list[Corpus]:
    """Return the images of the first `num_domains` tasks (None: all), as text of bytes with its own split.

    Args:
        config: what to read.
        cache_dir: folder for the images as text.
        events: receives "classes_left_out", "domains_left_out" and what the cache has to say.
        num_domains: tasks wanted.
        order: places of all tasks, in the order in which they are learned; left out: as they are.

    Raises:
        UserError: there is another number of places than one, the images cannot be read, or there are too few tasks.
    """
    location = _location(config)
    images = read_image_set(location)
    tasks = _tasks_of(images, config)
    order = list(range(len(tasks))) if order is None else order
    if num_domains is not None and num_domains > len(tasks):
        raise UserError(
            f"{len(tasks)} tasks of {config.classes_per_task} classes in --data {location}",
            wanted=f"{num_domains}",
            way_out=f"--num-tasks {len(tasks)}, or fewer --classes-per-task",
        )
    left_over = list(range(len(tasks) * config.classes_per_task, images.num_classes))
    if left_over:
        events.emit("classes_left_out", data=images.name, classes=left_over, classes_per_task=config.classes_per_task)
    if num_domains is not None and num_domains < len(tasks):
        events.emit("domains_left_out", names=[_task_name(images, tasks[place]) for place in order[num_domains:]])
    stamp = [FORMAT_VERSION, stamp_of(location), config.image_tokens, config.scenario, config.max_domain_bytes]
    corpora = []
    for place in order[:num_domains]:
        classes = tasks[place]
        name = _task_name(images, classes)
        corpora.append(
            obtain_folder(
                cache_dir / "images" / hash_of([*stamp, config.max_heldout_bytes, classes]),
                what=f"the images of {name}",
                open_whole=_open,
                write=partial(_write, name=name, images=images, classes=classes, config=config),
                events=events,
            )
        )
    return corpora


def task_names(config: DataConfig) -> list[str]:
    """Return the names of the tasks, in the order of their classes."""
    images = read_image_set(_location(config))
    return [_task_name(images, classes) for classes in _tasks_of(images, config)]


def _task_name(images: ImageSet, classes: Sequence[int]) -> str:
    return f"{images.name}-{'-'.join(map(str, classes))}"


def _location(config: DataConfig) -> str:
    if len(config.data) != 1:
        raise UserError(
            f"--data {' '.join(config.data)}: images beside other data",
            wanted="one set of images",
            way_out=f"--data {config.data[0]}",
        )
    return config.data[0]


def _tasks_of(images: ImageSet, config: DataConfig) -> list[tuple[int, ...]]:
    size = config.classes_per_task
    classes = range(images.num_classes)
    # Classes that fill no task are left out, as every task must have as many.
    return [tuple(classes[first : first + size]) for first in range(0, len(classes) - size + 1, size)]


def _encoded(images: np.ndarray, config: DataConfig) -> np.ndarray:
    """Return the bytes of each image, [N, L]."""
    kind = config.image_tokens
    return tokens_of(elements_of(torch.tensor(images), kind), kind).numpy()


def _documents(
    split: LabelledImages, classes: tuple[int, ...], config: DataConfig, max_bytes: int
) -> tuple[list[bytes], int]:
    """Return the images of these classes as documents, as many as the limit allows, and the bytes of all there are."""
    is_chosen = np.isin(split.labels, classes)
    images, labels = _encoded(split.images[is_chosen], config), split.labels[is_chosen].astype(np.int64)
    if config.scenario == "domain":
        labels = np.searchsorted(classes, labels)
    written = np.array(label_bytes(256), dtype=np.uint8)[labels]
    rows = np.concatenate([images, written[:, None]], axis=1)
    most = len(rows) if max_bytes == 0 else max(2, max_bytes // rows.shape[1])
    chosen = rows if most >= len(rows) else rows[_spread(labels, most)]
    return [row.tobytes() for row in chosen], rows.size


def _spread(labels_N: np.ndarray, number: int) -> np.ndarray:
    """Return the places of so many images, in their order: of each class its part, evenly spaced among its images.

    Sets may be sorted by class, or have their classes in turns: the first images, or each tenth, may be of one class.
    """
    by_class_N = np.argsort(labels_N, kind="stable")
    return np.sort(by_class_N[np.arange(number) * len(labels_N) // number])


def _open(folder: Path) -> Corpus:
    return Corpus(folder, json.loads((folder / "record.json").read_text(encoding="utf-8")))


def _write(
    folder: Path, *, name: str, images: ImageSet, classes: tuple[int, ...], config: DataConfig
) -> dict[str, FileRecord]:
    train, train_bytes_there = _documents(images.train, classes, config, config.max_domain_bytes)
    heldout, heldout_bytes_there = _documents(images.heldout, classes, config, config.max_heldout_bytes)
    splits = {"train": train, "heldout": heldout}
    empty = [split for split, documents in splits.items() if not documents]
    if empty:
        raise UserError(f"{name}: no image of these classes ({empty[0]})", wanted="some", way_out="check the labels")
    everything = [*train, *heldout]
    starts = np.cumsum([0, *map(len, everything)])[:-1]
    positions = np.stack([starts, [len(document) for document in everything]], axis=1).astype(np.int64)
    num_labels = config.classes_per_task if config.scenario == "domain" else images.num_classes
    arrays = {
        "read": positions,
        "train": positions[: len(train)],
        "heldout": positions[len(train) :],
        # Images are not compared by lines: equal rows of pixels mean nothing.
        "lines": np.empty(0, dtype="<u8"),
        "passages": np.empty(0, dtype="<u8"),
    }
    record: dict[str, Any] = {
        "name": name,
        "bytes_there": train_bytes_there + heldout_bytes_there,
        "bytes_read": sum(map(len, train)) + heldout_bytes_there,
        "is_capped": sum(map(len, train)) < train_bytes_there,
        "heldout_bytes_left_out": heldout_bytes_there - sum(map(len, heldout)),
        **{split: _split_record(documents) for split, documents in splits.items()},
        "files": [],
        "labels": label_bytes(num_labels),
    }
    record["content_hash"] = hash_of([record["train"], record["heldout"]])
    files = {"text.bin": write_new_file(folder / "text.bin", everything)}
    for split, array in arrays.items():
        encoded = io.BytesIO()
        np.save(encoded, array)
        files[f"{split}.npy"] = write_new_file(folder / f"{split}.npy", [encoded.getvalue()])
    files["record.json"] = write_new_file(folder / "record.json", [json.dumps(record, indent=1).encode()])
    return files


def _split_record(documents: Sequence[bytes]) -> dict[str, Any]:
    return {
        "num_bytes": sum(map(len, documents)),
        "num_documents": len(documents),
        "content_hash": hash_of_documents(documents),
    }
