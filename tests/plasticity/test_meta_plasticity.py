"""Claims about the gate on the optimizer's update, alone and inside the engine."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from mambrane.core.events import EventLog
from mambrane.data.batch import MicroBatch
from mambrane.engine.config import EngineConfig
from mambrane.engine.extensions import BoundaryView, Extensions, StepView, TakeUpView
from mambrane.engine.trainer import Trainer
from mambrane.models.language_model import LanguageModel
from mambrane.plasticity.config import PlasticityConfig
from mambrane.plasticity.meta_plasticity import MetaPlasticity
from mambrane.storage.state_files import decode_state, encode_state

CPU = torch.device("cpu")
CONFIG = PlasticityConfig(use_meta_plasticity=True, meta_lr=0.1, meta_kappa=3.0)


class FixedText:
    """A loader of fixed micro-batches: an epoch is all of them."""

    def __init__(self, batches: list[MicroBatch]) -> None:
        self.batches = batches

    def epoch_batches(self) -> Iterator[MicroBatch]:
        yield from self.batches

    def commit(self) -> None: ...

    def rewind(self) -> None: ...


def one_weight(config: PlasticityConfig = CONFIG) -> tuple[nn.Linear, MetaPlasticity]:
    """Two weights, the first of which the task leaned on three times as much (h = 1.5 and 0.5), anchored at 1."""
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.fill_(1.0)
    meta = MetaPlasticity(config, model)
    meta.observe({"weight": torch.tensor([[3.0**0.5, 1.0]])})
    meta.boundary(BoundaryView(model=model, loader=None, task_index=0, device=CPU))
    return model, meta


def gated(meta: MetaPlasticity, before: list[float], after: list[float]) -> list[float]:
    return meta.gate({"weight": torch.tensor([before])}, {"weight": torch.tensor([after])})["weight"].flatten().tolist()


def test_moves_away_from_the_anchor_are_scaled_by_importance_and_the_way_back_is_free():
    _, meta = one_weight()
    f = [1 / (1 + 3.0 * 1.5), 1 / (1 + 3.0 * 0.5)]
    assert gated(meta, [1.2, 1.2], [1.3, 1.3]) == pytest.approx([1.2 + 0.1 * f[0], 1.2 + 0.1 * f[1]])
    assert gated(meta, [0.8, 0.8], [0.7, 0.7]) == pytest.approx([0.8 - 0.1 * f[0], 0.8 - 0.1 * f[1]])
    assert gated(meta, [1.2, 0.8], [1.1, 0.9]) == pytest.approx([1.1, 0.9])
    assert gated(meta, [1.0, 1.0], [1.1, 0.9]) == pytest.approx([1.0 + 0.1 * f[0], 1.0 - 0.1 * f[1]])


def test_behind_a_task_learned_without_it_the_anchor_is_where_that_task_ended():
    model, meta = one_weight()
    later = MetaPlasticity(CONFIG, model)
    model.weight.data.fill_(2.0)
    parked = {"meta_plasticity": meta.state_dict()}
    Extensions.of(later).take_up({}, parked, TakeUpView(model, 2, end_of_text=0, device=CPU))
    f = [1 / (1 + 3.0 * 1.5), 1 / (1 + 3.0 * 0.5)]
    assert gated(later, [2.0, 2.0], [1.9, 2.1]) == pytest.approx([2.0 - 0.1 * f[0], 2.0 + 0.1 * f[1]])
    assert gated(later, [1.9, 2.1], [2.0, 2.0]) == pytest.approx([2.0, 2.0])


def test_mean_plasticity_is_the_mean_of_the_gate():
    model, meta = one_weight()
    expected = (1 / (1 + 4.5) + 1 / (1 + 1.5)) / 2
    view = StepView(model, [], [], [], num_targets=1, applied_step=1, learning_rate=1.0)
    assert meta.after_step(view).numbers == pytest.approx({"mean_plasticity": expected})


def test_an_older_task_counts_less_than_a_newer_one():
    model, meta = one_weight(replace(CONFIG, meta_lr=1.0))
    meta.observe({"weight": torch.tensor([[1.0, 3.0**0.5]])})
    meta.boundary(BoundaryView(model=model, loader=None, task_index=1, device=CPU))
    expected = torch.tensor([[0.9 * 1.5 + 0.5, 0.9 * 0.5 + 1.5]]) / 1.9
    torch.testing.assert_close(meta.state_dict()["importance"]["weight"], expected)


def train(model: LanguageModel, meta: MetaPlasticity | None, batches: list[MicroBatch], tasks: int = 2) -> Trainer:
    extensions = Extensions() if meta is None else Extensions(update_gates=(meta,), boundaries=(meta,))
    trainer = Trainer(model, EngineConfig(accumulation_steps=2), device=CPU, events=EventLog(), extensions=extensions)
    for task in range(tasks):
        trainer.begin_task(2)
        list(trainer.steps(FixedText(batches)))
        trainer.end_task(FixedText(batches), task)
    return trainer


def weights_after(
    build_model: Callable, config: PlasticityConfig | None, batches: list[MicroBatch], tasks: int = 2
) -> dict[str, torch.Tensor]:
    model = build_model(use_mamba=True, num_gate_heads=2)
    train(model, None if config is None else MetaPlasticity(config, model), batches, tasks)
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name].view(torch.int32), other[name].view(torch.int32)) for name in one)


def test_the_gate_changes_the_second_task_and_not_the_first(build_model: Callable, text: Callable):
    batches = [text(seed) for seed in range(4)]
    off, on = (weights_after(build_model, config, batches) for config in (None, CONFIG))
    assert not same_bits(off, on)
    first_off, first_on = (weights_after(build_model, config, batches, tasks=1) for config in (None, CONFIG))
    assert same_bits(first_off, first_on)


@pytest.mark.parametrize("zero", ["meta_kappa", "meta_lr"])
def test_zero_strength_equals_off_bit_for_bit(zero: str, build_model: Callable, text: Callable):
    batches = [text(seed) for seed in range(4)]
    off = weights_after(build_model, None, batches)
    assert same_bits(off, weights_after(build_model, replace(CONFIG, **{zero: 0.0}), batches))


def test_gated_weights_end_nearer_to_the_anchor(build_model: Callable, text: Callable):
    batches = [text(seed) for seed in range(4)]
    anchor = weights_after(build_model, CONFIG, batches, tasks=1)
    off, on = (weights_after(build_model, config, batches) for config in (None, replace(CONFIG, meta_kappa=100.0)))

    def distance(weights: dict[str, torch.Tensor]) -> float:
        return sum(float((weights[name] - anchor[name]).abs().sum()) for name in anchor)

    assert distance(on) < 0.7 * distance(off)


def test_a_restart_goes_on_bit_for_bit(build_model: Callable, text: Callable):
    batches = [text(seed) for seed in range(4)]
    model = build_model(use_mamba=True, num_gate_heads=2)
    trainer = train(model, MetaPlasticity(CONFIG, model), batches)
    saved = encode_state(trainer.state_dict(), copy=True)

    resumed_model = build_model(use_mamba=True, num_gate_heads=2)
    meta = MetaPlasticity(CONFIG, resumed_model)
    resumed = train(resumed_model, meta, batches, tasks=0)
    resumed.load_state_dict(decode_state(*saved))
    assert meta.mean_plasticity < 1.0
    for each in (trainer, resumed):
        each.begin_task(2)
        list(each.steps(FixedText(batches)))
    assert same_bits(model.state_dict(), resumed_model.state_dict())


def test_the_state_of_another_model_is_refused(build_model: Callable):
    _, meta = one_weight()
    with pytest.raises(ValueError, match="saved importance of weight"):
        MetaPlasticity(CONFIG, build_model()).load_state_dict(meta.state_dict() | {"usage": {}})
