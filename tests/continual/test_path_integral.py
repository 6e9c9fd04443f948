"""Claims about synaptic intelligence: the path through a task, and what is left of it after a restart."""

import pytest
import torch
from torch import nn

from mambrane.continual.path_integral import DAMPING, PathIntegral
from mambrane.storage.state_files import decode_state, encode_state


def model_at(*weights: float) -> nn.Linear:
    model = nn.Linear(len(weights), 1, bias=False)
    model.weight.data = torch.tensor([weights])
    return model


def take_step(model: nn.Linear, path: PathIntegral, gradient: list[float], way: list[float]) -> None:
    model.weight.grad = torch.tensor([gradient])
    path.watch(model)
    model.weight.data += torch.tensor([way])


def test_importance_is_what_the_way_did_for_the_loss_over_how_far_it_led():
    model = model_at(1.0, 1.0, 1.0)
    path = PathIntegral(model)
    take_step(model, path, [2.0, -1.0, 1.0], [-0.5, 0.25, 0.5])
    take_step(model, path, [4.0, -1.0, 1.0], [-0.5, 0.25, 0.5])
    gained = torch.tensor([2.0 * 0.5 + 4.0 * 0.5, 0.5, -1.0])
    moved = torch.tensor([1.0, 0.5, 1.0])
    expected = gained.clamp(min=0.0) / (moved.square() + DAMPING)
    torch.testing.assert_close(path.finish(model)["weight"], expected[None])


def test_a_weight_that_hardly_moved_is_not_endlessly_important():
    model = model_at(1.0, 1.0)
    path = PathIntegral(model)
    take_step(model, path, [1.0, 1.0], [-0.1, -0.001])
    # 0.1 / (0.1^2 + 0.001) and 0.001 / (0.001^2 + 0.001).
    torch.testing.assert_close(path.finish(model)["weight"], torch.tensor([[9.0909, 0.9990]]), rtol=1e-3, atol=0.0)


def test_a_new_task_starts_a_new_path():
    model = model_at(1.0)
    path = PathIntegral(model)
    take_step(model, path, [1.0], [-1.0])
    path.finish(model)
    take_step(model, path, [1.0], [-0.1])
    torch.testing.assert_close(path.finish(model)["weight"], torch.tensor([[0.1 / (0.01 + DAMPING)]]))


def test_a_jump_to_other_weights_behind_a_path_that_is_closed_is_no_part_of_it():
    model = model_at(1.0)
    path = PathIntegral(model)
    take_step(model, path, [2.0], [-0.5])
    path.close(model)
    model.weight.data.fill_(7.0)
    torch.testing.assert_close(path.finish(model)["weight"], torch.tensor([[1.0 / (0.25 + DAMPING)]]))
    take_step(model, path, [1.0], [-0.1])
    torch.testing.assert_close(path.finish(model)["weight"], torch.tensor([[0.1 / (0.01 + DAMPING)]]))


def test_a_step_that_was_skipped_adds_nothing():
    model = model_at(1.0, 1.0)
    path = PathIntegral(model)
    take_step(model, path, [torch.inf, torch.nan], [0.0, 0.0])
    take_step(model, path, [1.0, 1.0], [-0.5, -0.5])
    assert path.finish(model)["weight"].flatten().tolist() == pytest.approx([0.5 / (0.25 + DAMPING)] * 2)


def test_a_restart_in_the_middle_of_a_path_goes_on_bit_for_bit():
    model = model_at(1.0, 2.0)
    path = PathIntegral(model)
    take_step(model, path, [0.3, 0.1], [-0.11, -0.13])
    again = PathIntegral(model_at(5.0, 5.0))
    again.load_state_dict(decode_state(*encode_state(path.state_dict(), copy=True)))
    resumed = model_at(*model.weight.flatten().tolist())
    for each, its_path in ((model, path), (resumed, again)):
        take_step(each, its_path, [0.2, 0.7], [-0.17, -0.19])
    assert torch.equal(path.finish(model)["weight"], again.finish(resumed)["weight"])
