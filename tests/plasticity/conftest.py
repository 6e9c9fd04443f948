"""A tiny model, text for it, and the view that the engine hands to an after-step extension."""

from collections.abc import Callable

import pytest
import torch

from mambrane.core.seeding import make_generator
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import AfterStep, StepView
from mambrane.engine.transfer import to_host
from mambrane.engine.weights import write_weights
from mambrane.models.config import ModelConfig
from mambrane.models.language_model import LanguageModel

VOCAB_SIZE, END_OF_TEXT = 17, 16


def act(extension: AfterStep, view: StepView) -> dict[str, float]:
    """Let an extension act as the engine does: its changes go into the weights; returns its numbers."""
    change = extension.after_step(view)
    with torch.no_grad():
        write_weights(dict(view.model.named_parameters()), change.weights)
    (numbers,) = to_host(change.numbers)
    return numbers


@pytest.fixture
def build_model() -> Callable[..., LanguageModel]:
    def build(**settings: object) -> LanguageModel:
        config = ModelConfig(**{"hidden_dim": 16, "num_layers": 2, "spiking_units": 12, **settings})
        model = LanguageModel(config, VOCAB_SIZE, make_generator(0, "weights"))
        # A larger embedding makes both populations fire at useful rates without training.
        with torch.no_grad():
            model.embedding.weight.mul_(50.0)
        return model

    return build


@pytest.fixture
def text() -> Callable[..., MicroBatch]:
    def draw(seed: int, batch_size: int = 4, length: int = 40, padding: int = 0) -> MicroBatch:
        generator = make_generator(seed, "text")
        stream = torch.randint(0, END_OF_TEXT + 1, (batch_size, length + 1), generator=generator)
        inputs, targets = stream[:, :-1].clone(), stream[:, 1:].clone()
        if padding:
            inputs[-1, -padding:], targets[-1, -padding:] = END_OF_TEXT, -100
        return MicroBatch(inputs, targets, inputs == END_OF_TEXT)

    return draw


@pytest.fixture
def view_of() -> Callable[..., StepView]:
    def run(model: LanguageModel, *batches: MicroBatch) -> StepView:
        with torch.no_grad():
            activities = [model(batch.inputs_BT, resets_BT=batch.resets_BT).activity for batch in batches]
        return StepView(
            model=model,
            micro_batches=list(batches),
            activities=activities,
            read_by_batch=[batch.num_read for batch in batches],
            num_targets=sum(batch.num_targets for batch in batches),
            applied_step=1,
            learning_rate=1e-3,
        )

    return run
