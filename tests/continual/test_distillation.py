"""Claims about distillation: the divergence from the teacher, who the teacher is, and what survives a restart."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mambrane.continual import chunked_logits
from mambrane.continual.config import ContinualConfig
from mambrane.continual.distillation import Distillation
from mambrane.core.events import EventLog
from mambrane.core.seeding import make_generator
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.data.domains import Domain
from mambrane.engine.config import EngineConfig
from mambrane.engine.extensions import Boundary, BoundaryView, Extensions, LossTerm
from mambrane.engine.objective import fused_next_token_objective
from mambrane.engine.trainer import Trainer
from mambrane.models.language_model import LanguageModel
from mambrane.storage.state_files import EncodedState, decode_state, encode_state
from tests.continual.conftest import END_OF_TEXT, VOCAB_SIZE, loader_of, move

CPU = torch.device("cpu")
CONFIG = ContinualConfig(
    continual_learning=True,
    distillation_strength=0.7,
    distillation_temperature=3.0,
    distillation_confidence_power=0.5,
)
ENGINE = EngineConfig(accumulation_steps=2, learning_rate=1e-2)
ROWS, LENGTH, PADDING = 4, 20, 6
IN_CHUNKS_OF_SEVEN = 7 * VOCAB_SIZE


def padded_text() -> MicroBatch:
    """Random text with documents in it; the last row ends in positions that do not count."""
    stream = torch.randint(0, END_OF_TEXT + 1, (ROWS, LENGTH + 1), generator=make_generator(0, "text"))
    inputs, targets = stream[:, :-1].clone(), stream[:, 1:].clone()
    targets[-1, -PADDING:] = IGNORED_TARGET
    return MicroBatch(inputs, targets, inputs == END_OF_TEXT)


def taught_by(model: LanguageModel, config: ContinualConfig = CONFIG) -> Distillation:
    """Return distillation with the model as it is for its teacher."""
    distillation = Distillation(config, model)
    distillation.boundary(BoundaryView(model=model, loader=None, task_index=0, device=CPU))
    return distillation


def term_of(distillation: Distillation, model: LanguageModel, batch: MicroBatch) -> Tensor:
    return distillation.term(model, fused_next_token_objective(model, batch).output, batch)


def gradients_of(loss: Tensor, model: nn.Module) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("chunk_logits", [IN_CHUNKS_OF_SEVEN, chunked_logits.CHUNK_LOGITS])
@pytest.mark.parametrize(("strength", "temperature", "power"), [(1.0, 1.0, 0.0), (0.7, 3.0, 2.0)])
def test_value_and_gradient_are_those_of_the_formula(
    strength: float,
    temperature: float,
    power: float,
    chunk_logits: int,
    build_model: Callable,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(chunked_logits, "CHUNK_LOGITS", chunk_logits)
    student, teacher, batch = build_model().double(), build_model().double(), padded_text()
    config = replace(
        CONFIG,
        distillation_strength=strength,
        distillation_temperature=temperature,
        distillation_confidence_power=power,
    )
    distillation = taught_by(student, config)
    move(student, by=0.1)

    student_BTV, teacher_BTV = (
        model(batch.inputs_BT, resets_BT=batch.resets_BT).logits_BTV for model in (student, teacher)
    )
    divergence_BT = functional.kl_div(
        (student_BTV / temperature).log_softmax(dim=-1),
        (teacher_BTV.detach() / temperature).softmax(dim=-1),
        reduction="none",
    ).sum(dim=-1)
    is_counted_BT = batch.targets_BT != IGNORED_TARGET
    right_BT1 = batch.targets_BT.where(is_counted_BT, 0).unsqueeze(-1)
    confidence_BT = teacher_BTV.detach().softmax(dim=-1).gather(-1, right_BT1).squeeze(-1) ** power
    expected = strength * temperature**2 * (confidence_BT * divergence_BT)[is_counted_BT].sum()
    got = term_of(distillation, student, batch)
    assert expected > 0.01
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(gradients_of(got, student), gradients_of(expected, student))


def test_there_is_no_term_in_the_first_task_and_none_without_strength(build_model: Callable):
    model, batch = build_model(), padded_text()
    assert term_of(Distillation(CONFIG, model), model, batch) is None
    assert term_of(taught_by(model, replace(CONFIG, distillation_strength=0.0)), model, batch) is None


def test_what_stands_where_no_target_counts_changes_nothing(build_model: Callable):
    model, batch = build_model(), padded_text()
    distillation = taught_by(model)
    move(model, by=0.1)
    other_inputs_BT = batch.inputs_BT.clone()
    other_inputs_BT[-1, -PADDING:] = (other_inputs_BT[-1, -PADDING:] + 1) % END_OF_TEXT
    other = batch._replace(inputs_BT=other_inputs_BT)
    assert torch.equal(term_of(distillation, model, batch), term_of(distillation, model, other))
    whole = batch._replace(targets_BT=batch.targets_BT.where(batch.targets_BT != IGNORED_TARGET, 0))
    assert term_of(distillation, model, batch) < term_of(distillation, model, whole)


def test_the_term_of_a_micro_batch_is_the_sum_over_its_parts(build_model: Callable):
    model, batch = build_model().double(), padded_text()
    distillation = taught_by(model)
    move(model, by=0.1)
    halves = [MicroBatch(*(part[rows] for part in batch)) for rows in (slice(0, 2), slice(2, 4))]
    parts = [term_of(distillation, model, half) for half in halves]
    torch.testing.assert_close(sum(parts), term_of(distillation, model, batch))


def test_a_student_equal_to_its_teacher_has_no_loss_and_no_gradient(build_model: Callable):
    model, batch = build_model(use_mamba=True, num_gate_heads=2), padded_text()
    distillation = taught_by(model)
    same = term_of(distillation, model, batch)
    assert same.item() == 0.0
    gradients = gradients_of(same, model)
    move(model, by=0.1)
    for name, gradient in gradients_of(term_of(distillation, model, batch), model).items():
        assert gradients[name].abs().max() <= 1e-5 * gradient.abs().max()


def test_no_logits_are_kept_for_the_backward_pass(build_model: Callable):
    model, batch = build_model(), padded_text()
    distillation = taught_by(model)
    output = fused_next_token_objective(model, batch).output
    kept: list[torch.Size] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        term = distillation.term(model, output, batch)
    assert term.requires_grad
    assert not any(len(shape) > 1 and shape[-1] == VOCAB_SIZE for shape in kept)


def test_the_teacher_draws_nothing_and_is_in_evaluation_mode(build_model: Callable):
    model, batch = build_model(), padded_text()
    model.norm = nn.Sequential(model.norm, nn.Dropout(0.5))
    model.train()
    distillation = taught_by(model)
    output = fused_next_token_objective(model, batch).output
    random_state = torch.get_rng_state()
    once, again = (distillation.term(model, output, batch) for _ in range(2))
    once.backward(retain_graph=True)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(once, again)
    assert model.training


class Sitting:
    """One process of a run of two tasks: everything is built anew, and the saved state is all that survives it."""

    def __init__(
        self,
        build_model: Callable[..., LanguageModel],
        domains: list[Domain],
        config: ContinualConfig | None = CONFIG,
        engine: EngineConfig = ENGINE,
    ) -> None:
        self.model = build_model()
        self.distillation = None if config is None else Distillation(config, self.model)
        there = () if self.distillation is None else (self.distillation,)
        self.trainer = Trainer(
            self.model,
            engine,
            device=CPU,
            events=EventLog(),
            extensions=Extensions(loss_terms=there, boundaries=there),
            objective=fused_next_token_objective,
        )
        self.loaders = [loader_of(domain) for domain in domains[:2]]

    def learn(self, task: int) -> None:
        self.trainer.begin_task(4)
        list(self.trainer.steps(self.loaders[task]))

    def end(self, task: int) -> None:
        self.trainer.end_task(self.loaders[task], task)

    def weights(self) -> dict[str, Tensor]:
        return {name: weight.clone() for name, weight in self.model.state_dict().items()}

    def saved(self) -> EncodedState:
        return encode_state([self.trainer.state_dict(), *(loader.state_dict() for loader in self.loaders)], copy=True)

    def load(self, saved: EncodedState) -> None:
        parts: list[dict[str, Any]] = decode_state(*saved)
        for part, state in zip((self.trainer, *self.loaders), parts, strict=True):
            part.load_state_dict(state)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_strength_zero_equals_off_bit_for_bit_and_any_strength_does_not(build_model: Callable, domains: list[Domain]):
    weights = []
    everywhere = replace(CONFIG, distillation_confidence_power=0.0)
    for config in (None, replace(CONFIG, distillation_strength=0.0), CONFIG, everywhere):
        sitting = Sitting(build_model, domains, config)
        sitting.learn(0)
        sitting.end(0)
        sitting.learn(1)
        weights.append(sitting.weights())
    off, zero, on, heard_everywhere = weights
    assert same(off, zero)
    assert not same(off, on)
    assert not same(on, heard_everywhere)


def test_the_teacher_is_the_model_at_the_last_boundary_and_stays_so(build_model: Callable, domains: list[Domain]):
    sitting = Sitting(build_model, domains)
    sitting.learn(0)
    assert sitting.distillation.teacher is None
    sitting.end(0)
    at_boundary = sitting.weights()
    sitting.learn(1)
    assert same(dict(sitting.distillation.teacher.state_dict()), at_boundary)
    assert not same(sitting.weights(), at_boundary)
    assert all(weight.grad is None for weight in sitting.distillation.teacher.parameters())
    sitting.end(1)
    assert same(dict(sitting.distillation.teacher.state_dict()), sitting.weights())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_task_begins_without_divergence_whatever_the_precision(
    precision: str, build_model: Callable, domains: list[Domain]
):
    sitting = Sitting(build_model, domains, engine=replace(ENGINE, precision=precision))
    sitting.learn(0)
    sitting.end(0)
    sitting.trainer.begin_task(4)
    terms = [result.terms["distillation"] for result in sitting.trainer.steps(sitting.loaders[1])]
    assert terms[0] == 0.0
    assert all(term > 0 for term in terms[1:])


def test_a_run_resumed_in_the_middle_of_a_task_ends_bit_for_bit_the_same(build_model: Callable, domains: list[Domain]):
    straight, stopped = Sitting(build_model, domains), Sitting(build_model, domains)
    for sitting in (straight, stopped):
        sitting.learn(0)
        sitting.end(0)
        sitting.trainer.begin_task(4)
        next(sitting.trainer.steps(sitting.loaders[1]))
    resumed = Sitting(build_model, domains)
    resumed.load(stopped.saved())
    ends = []
    for sitting in (straight, resumed):
        list(sitting.trainer.steps(sitting.loaders[1]))
        before_boundary = sitting.saved()
        sitting.end(1)
        ends.append((before_boundary, sitting.saved()))
    for one, other in zip(*ends, strict=True):
        assert one.json == other.json
        # The checker of type hints, at work in tests only, draws from Python's own generator.
        different = {name for name in one.tensors if not torch.equal(one.tensors[name], other.tensors[name])}
        assert different <= {"/0/random/python/words"}


def test_a_teacher_is_taken_back_bit_for_bit_and_so_is_none(build_model: Callable):
    model = build_model()
    distillation, nobody = taught_by(model), Distillation(CONFIG, model).state_dict()
    saved = encode_state(distillation.state_dict(), copy=True)
    move(model, by=0.1)
    again = Distillation(CONFIG, model)
    again.load_state_dict(decode_state(*saved))
    assert same(dict(again.teacher.state_dict()), dict(distillation.teacher.state_dict()))
    assert not again.teacher.training
    assert torch.equal(*(term_of(each, model, padded_text()) for each in (distillation, again)))
    again.load_state_dict(decode_state(*encode_state(nobody)))
    assert again.teacher is None


def test_the_teacher_of_another_model_is_refused(build_model: Callable):
    saved = taught_by(build_model()).state_dict()
    with pytest.raises(ValueError, match="the saved teacher does not fit this model"):
        Distillation(CONFIG, build_model(hidden_dim=8)).load_state_dict(saved)


def test_distillation_fills_its_two_seams(build_model: Callable):
    assert all(isinstance(Distillation(CONFIG, build_model()), seam) for seam in (LossTerm, Boundary))
