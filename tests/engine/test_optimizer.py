"""The optimizer: what decays, three implementations that agree, state by name."""

import pytest
import torch
from torch import nn

from mambrane.engine.config import EngineConfig
from mambrane.engine.optimizer import (
    add_new_parameters,
    build_optimizer,
    load_optimizer_state,
    optimizer_state_by_name,
)
from mambrane.engine.transaction import StepState
from tests.engine.tiny_training import (
    INFINITE,
    ListLoader,
    TinyModel,
    differences,
    make_batch,
    make_batches,
    make_trainer,
)

IMPLEMENTATIONS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {"foreach": False}}


class Everything(nn.Module):
    """One parameter of each kind that matters for decay."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(3, 4)
        self.linear = nn.Linear(4, 4)
        self.taps = nn.Conv1d(4, 4, 3)
        self.norm = nn.RMSNorm(4)
        self.A_log = nn.Parameter(torch.zeros(4, 2))
        self.D = nn.Parameter(torch.zeros(4, 1))
        self.conv_weight = nn.Parameter(torch.zeros(4, 3))
        self.plain = nn.Parameter(torch.zeros(4, 3))
        self.flagged = nn.Parameter(torch.zeros(4, 3))
        self.flagged.no_weight_decay = True
        self.head = nn.Linear(4, 3)
        self.head.weight = self.embedding.weight


def decays(model):
    groups = build_optimizer(model, EngineConfig(weight_decay=0.3)).param_groups
    by_id = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    return {name: by_id[id(parameter)] for name, parameter in model.named_parameters()}


def test_only_matrices_decay():
    decay = decays(Everything())
    assert {name for name, value in decay.items() if value} == {"linear.weight", "plain"}
    assert set(decay.values()) == {0.0, 0.3}
    assert set(decay) == set(dict(Everything().named_parameters()))


def test_a_tied_weight_is_in_the_optimizer_once_and_does_not_decay():
    model = Everything()
    parameters = [p for group in build_optimizer(model, EngineConfig()).param_groups for p in group["params"]]
    assert sum(parameter is model.embedding.weight for parameter in parameters) == 1
    assert decays(model)["embedding.weight"] == 0.0


def train_with(implementation, precision):
    model = TinyModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1, **IMPLEMENTATIONS[implementation])
    steps = []
    optimizer.register_step_post_hook(lambda *_: steps.append(1))
    trainer = make_trainer(model, precision=precision, optimizers=(optimizer,), accumulation_steps=1)
    batches = make_batches(20)
    for bad in (3, 4, 11):
        batches[bad] = make_batch(bad, first_token=INFINITE)
    states = [result.state for result in trainer.steps(ListLoader(batches))]
    return trainer, states, len(steps)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("implementation", ["foreach", "plain"])
def test_fused_agrees_with_the_other_implementations_also_about_skips(implementation, precision):
    fused, fused_states, fused_steps = train_with("fused", precision)
    other, other_states, other_steps = train_with(implementation, precision)
    assert fused_states == other_states
    assert fused_states.count(StepState.SKIPPED) == 3
    assert fused_steps == other_steps == fused.counters.applied == 17
    torch.testing.assert_close(fused.state_dict()["weights"], other.state_dict()["weights"], rtol=1e-9, atol=1e-12)
    assert int(fused.state_dict()["optimizer"]["hidden.weight"]["step"]) == 17


def test_the_engines_own_optimizer_is_fused():
    assert build_optimizer(TinyModel(), EngineConfig()).defaults["fused"]


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_state_goes_by_name_and_comes_back_bit_for_bit(implementation):
    def build(order):
        model = TinyModel()
        weights = sorted(model.parameters(), key=lambda weight: order * weight.numel())
        return model, torch.optim.AdamW(weights, lr=0.01, **IMPLEMENTATIONS[implementation])

    def step(model, optimizer, seed):
        for number, (_, weight) in enumerate(model.named_parameters()):
            generator = torch.Generator().manual_seed(100 * seed + number)
            weight.grad = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        optimizer.step()

    model, optimizer = build(order=1)
    for seed in range(3):
        step(model, optimizer, seed)
    saved = optimizer_state_by_name([optimizer], model)
    other, other_optimizer = build(order=-1)
    other.load_state_dict(model.state_dict())
    load_optimizer_state([other_optimizer], other, saved)
    assert differences(saved, optimizer_state_by_name([other_optimizer], other)) == []
    step(model, optimizer, 3)
    step(other, other_optimizer, 3)
    assert differences(dict(model.state_dict()), dict(other.state_dict())) == []


def test_a_loaded_state_is_a_copy():
    trainer = make_trainer()
    list(trainer.steps(ListLoader(make_batches(4))))
    state = trainer.state_dict()
    kept = state["optimizer"]["hidden.weight"]["exp_avg"].clone()
    other = make_trainer()
    other.load_state_dict(state)
    list(other.steps(ListLoader(make_batches(4, seed=1))))
    assert torch.equal(state["optimizer"]["hidden.weight"]["exp_avg"], kept)


def test_parameters_never_stepped_have_no_state():
    optimizer = build_optimizer(TinyModel(), EngineConfig())
    assert optimizer_state_by_name([optimizer], TinyModel()) == {}


def test_state_for_a_weight_that_the_model_does_not_have_is_refused():
    model = nn.Linear(2, 2)
    optimizer = build_optimizer(model, EngineConfig())
    for name, shape in (("other", (2, 2)), ("weight", (3, 3))):
        entry = {"step": torch.tensor(1.0), "exp_avg": torch.zeros(shape), "exp_avg_sq": torch.zeros(shape)}
        with pytest.raises(ValueError, match=f"exp_avg of {name}"):
            load_optimizer_state([optimizer], model, {name: entry})


def test_a_model_that_has_grown_is_trained_in_full_and_its_old_moments_stay():
    model = nn.ModuleDict({"body": nn.Linear(2, 2)})
    optimizer = build_optimizer(model, EngineConfig(weight_decay=0.3))
    model["body"].weight.grad = torch.ones(2, 2)
    optimizer.step()
    before = optimizer_state_by_name([optimizer], model)
    model["head"] = nn.Linear(2, 3)
    assert add_new_parameters([optimizer], model) == ["head.weight", "head.bias"]
    assert add_new_parameters([optimizer], model) == []
    assert differences(before, optimizer_state_by_name([optimizer], model)) == []
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay[id(model["head"].weight)] == 0.3
    assert decay[id(model["head"].bias)] == 0.0
    model["head"].weight.grad = torch.ones(3, 2)
    head = model["head"].weight.detach().clone()
    optimizer.step()
    assert not torch.equal(model["head"].weight, head)


def test_a_grown_model_resumes_with_its_state_by_name():
    def grown():
        trainer = make_trainer()
        list(trainer.steps(ListLoader(make_batches(4))))
        trainer.model.extra = nn.Linear(8, 8, dtype=torch.float64)
        with torch.no_grad():
            trainer.model.extra.weight.fill_(0.1)
            trainer.model.extra.bias.zero_()
        forward = trainer.model.forward

        def with_extra(inputs_BT, *, resets_BT=None):
            output = forward(inputs_BT)
            return output._replace(logits_BTV=trainer.model.scores(trainer.model.extra(output.activity[0])))

        trainer.model.forward = with_extra
        trainer.begin_task(10)
        return trainer

    straight = grown()
    list(straight.steps(ListLoader(make_batches(4, seed=1))))
    state = straight.state_dict()
    assert "extra.weight" in state["optimizer"]
    assert "extra.weight" in state["weights"]["ema"]
    resumed = grown()
    resumed.load_state_dict(state)
    for trainer in (straight, resumed):
        list(trainer.steps(ListLoader(make_batches(4, seed=2))))
    assert differences(straight.state_dict()["weights"], resumed.state_dict()["weights"]) == []
