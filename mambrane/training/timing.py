"""How long a run will take, from a few micro-batches that are measured now."""

import time
from typing import NamedTuple

import torch

from mambrane.continual.stream import Stream
from mambrane.data.batch import MicroBatch
from mambrane.engine.precision import Precision
from mambrane.models.language_model import LanguageModel
from mambrane.ops.linear import linear
from mambrane.run.arithmetic import precision_of
from mambrane.run.build import build_model, build_task_kind
from mambrane.settings.config import RunConfig

TIMED_MICRO_BATCHES = 2
FORWARD_SHARE = 1 / 3
"""Of a micro-batch's time; a backward pass costs twice a forward pass."""


class MicroBatchCost(NamedTuple):
    """What a micro-batch takes, forward and backward."""

    seconds: float
    activation_bytes: int


class ExpectedTime(NamedTuple):
    """Seconds that a whole run takes, in parts. Fisher information, distillation and checkpoints are not counted."""

    training_s: float
    evaluation_s: float

    @property
    def seconds(self) -> float:
        """Training and evaluations together."""
        return self.training_s + self.evaluation_s


def measure_micro_batch(
    config: RunConfig, model: LanguageModel, batch: MicroBatch, device: torch.device, precision: str
) -> MicroBatchCost:
    """Run a micro-batch forward and backward a few times; the weights and the random state stay as they are."""
    casts, task_kind = Precision(precision, device), build_task_kind(config, device)
    batch = batch.to(device)
    model.to(device)
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    def run() -> None:
        with casts.autocast():
            loss_sum = task_kind.objective(model, batch).loss_sum
        loss_sum.backward()
        model.zero_grad(set_to_none=True)

    with torch.random.fork_rng():
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            run()
        started_s = now_s(device)
        for _ in range(TIMED_MICRO_BATCHES):
            run()
        seconds = (now_s(device) - started_s) / TIMED_MICRO_BATCHES
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    return MicroBatchCost(seconds, sum(size for pointer, size in saved.items() if pointer not in weights))


def expected_time(config: RunConfig, stream: Stream, seconds_per_micro_batch: float) -> ExpectedTime:
    """Return how long the whole run takes at that speed."""
    kind = build_task_kind(config, torch.device("cpu"))
    micro_batches = sum(kind.make_loader(task).num_batches * task.num_epochs for task in stream.tasks)
    heldout_tokens = sum(domain.heldout.num_tokens for domain in stream.domains)
    batch_tokens = config.data.batch_size * config.data.sequence_length
    evaluations = (len(stream.tasks) + 1) * heldout_tokens / batch_tokens
    return ExpectedTime(
        training_s=seconds_per_micro_batch * micro_batches,
        evaluation_s=seconds_per_micro_batch * FORWARD_SHARE * evaluations,
    )


def expected_time_now(config: RunConfig, stream: Stream, vocab_size: int, device: torch.device) -> ExpectedTime:
    """Measure the speed of this machine with a model of its own, and return how long the run takes at it."""
    kind = precision_of(config, device)
    batch = next(iter(build_task_kind(config, device).make_loader(stream.tasks[0]).epoch_batches()))
    cost = measure_micro_batch(config, build_model(config, vocab_size), batch, device, kind)
    return expected_time(config, stream, cost.seconds)


def product_rate(device: torch.device) -> float:
    """Return the operations per second of a product of two matrices here, of three tries the best."""
    size = 1024
    left, best_s = torch.ones(size, size, device=device), float("inf")
    for _ in range(3):
        started_s = now_s(device)
        linear(left, left)
        best_s = min(best_s, now_s(device) - started_s)
    return 2 * size**3 / best_s


def now_s(device: torch.device) -> float:
    """Return the time when all that was asked of the device is done: a GPU works on after the call has returned."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
