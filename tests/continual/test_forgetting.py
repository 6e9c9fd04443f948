"""Claims about forgetting itself, on three toy languages that contradict each other.

Each language follows every letter by another letter, by a permutation of its own; learning one by gradient alone
undoes the others. A run is 150 steps of a tiny model, two seconds.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from mambrane.continual.config import ContinualConfig
from mambrane.continual.regularizer import Regularizer
from mambrane.continual.replay import Replay
from mambrane.continual.row_evaluation import RowEvaluation
from mambrane.continual.runner import Runner
from mambrane.continual.stream import build_stream
from mambrane.core.events import EventLog
from mambrane.core.seeding import make_generator
from mambrane.data.domains import Domain
from mambrane.data.loader import SequenceLoader
from mambrane.data.tokens import TokenFile
from mambrane.engine.config import EngineConfig
from mambrane.engine.extensions import BoundaryView, Extensions
from mambrane.engine.trainer import Trainer
from mambrane.measure.metrics import heldout_loss
from mambrane.models.language_model import LanguageModel
from mambrane.plasticity.config import PlasticityConfig
from mambrane.plasticity.meta_plasticity import MetaPlasticity

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
NUM_LETTERS = END_OF_TEXT = 16
LENGTH = 20


class Result(NamedTuple):
    final: float
    learned: float
    forgetting: float
    tokens: int


def language(name: str, num_tokens: int, rule: list[int]) -> TokenFile:
    """Text in which nine letters of ten follow the rule."""
    generator = make_generator(0, name)
    surprises = torch.randint(NUM_LETTERS, (num_tokens,), generator=generator).tolist()
    is_surprise = (torch.rand(num_tokens, generator=generator) < 0.1).tolist()
    tokens, letter = np.zeros(num_tokens, dtype=np.uint16), 0
    for position in range(num_tokens):
        letter = surprises[position] if is_surprise[position] else rule[letter]
        tokens[position] = letter
    tokens[::50] = END_OF_TEXT
    return TokenFile(tokens, END_OF_TEXT, num_bytes=num_tokens, num_documents=num_tokens // 50, content_hash=name)


@pytest.fixture(scope="module")
def languages() -> list[Domain]:
    domains = []
    for name in ("first", "second", "third"):
        rule = torch.randperm(NUM_LETTERS, generator=make_generator(0, "rule", name)).tolist()
        train, heldout = language(f"{name}/train", 4000, rule), language(f"{name}/heldout", 600, rule)
        domains.append(Domain(name, train, heldout, name, {}))
    return domains


class EqualPlasticity:
    """The control of meta-plasticity: as plastic as it on average, and every weight as plastic as every other."""

    name = "equal_plasticity"

    def __init__(self, meta: MetaPlasticity) -> None:
        self.meta = meta

    def observe(self, gradients: dict[str, Tensor]) -> None:
        self.meta.observe(gradients)

    def gate(self, before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, Tensor]:
        share = self.meta.mean_plasticity
        return {name: before[name] + share * (weight - before[name]) for name, weight in after.items()}

    def boundary(self, view: BoundaryView) -> None:
        self.meta.boundary(view)

    def state_dict(self) -> dict[str, object]:
        return self.meta.state_dict()

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.meta.load_state_dict(state)


@pytest.fixture(scope="module")
def train(languages: list[Domain], build_model: Callable[..., LanguageModel]) -> Callable[..., Result]:
    def run(
        *,
        replay: bool = False,
        strength: float = 0.0,
        method: str = "ewc",
        gate: Callable[[LanguageModel], object] | None = None,
    ) -> Result:
        config = ContinualConfig(
            continual_learning=True,
            num_tasks=3,
            use_replay=replay,
            replay_buffer_size=64,
            regularizer_strength=strength,
            regularizer=method,
            fisher_sequences=32,
        )
        model = build_model(0, hidden_dim=32, spiking_units=32, use_mamba=True, num_gate_heads=4)
        rehearsal = Replay(config, sequence_length=LENGTH, seed=0)
        regularizer = Regularizer(config, model, seed=0)
        gates = () if gate is None else (gate(model),)
        extensions = Extensions(
            batch_mixers=(rehearsal,) if replay else (),
            penalties=(regularizer,),
            update_gates=gates,
            boundaries=(rehearsal, regularizer, *gates),
        )
        engine = EngineConfig(accumulation_steps=1, learning_rate=1e-2, weight_decay=0.0)
        trainer = Trainer(model, engine, device=CPU, events=EventLog(), extensions=extensions)
        runner = Runner(
            build_stream(languages, config, 6),
            trainer,
            RowEvaluation(
                trainer,
                lambda model, domain: heldout_loss(
                    model, domain.heldout, sequence_length=LENGTH, batch_size=32, device=CPU
                ),
            ),
            make_loader=lambda task: SequenceLoader(
                task.train, sequence_length=LENGTH, batch_size=8, seed=0, name=task.name
            ),
        )
        runner.run()
        metrics = runner.matrix.metrics()
        numbers = (metrics[name].value for name in ("final_average", "learned_average", "forgetting"))
        return Result(*numbers, trainer.counters.tokens)

    return run


@pytest.fixture(scope="module")
def naive(train: Callable[..., Result]) -> Result:
    result = train()
    assert result.learned < 1.3
    assert result.forgetting > 3.0
    return result


def test_replay_cuts_forgetting_by_more_than_half_at_the_same_number_of_tokens(naive: Result, train: Callable):
    result = train(replay=True)
    assert result.tokens == naive.tokens
    assert result.forgetting < 0.25 * naive.forgetting
    assert result.final < 0.5 * naive.final


@pytest.mark.parametrize("method", ["ewc", "mas", "si"])
def test_a_regularizer_cuts_forgetting_by_more_than_half(method: str, naive: Result, train: Callable):
    result = train(strength=0.3, method=method)
    assert result.forgetting < 0.5 * naive.forgetting
    assert result.final < 0.7 * naive.final


def test_meta_plasticity_cuts_forgetting_and_beats_a_learning_rate_that_is_lower_by_as_much(
    naive: Result, train: Callable
):
    config = PlasticityConfig(use_meta_plasticity=True, meta_kappa=30.0)
    result = train(gate=lambda model: MetaPlasticity(config, model))
    control = train(gate=lambda model: EqualPlasticity(MetaPlasticity(config, model)))
    assert result.forgetting < 0.5 * naive.forgetting
    assert result.final < 0.9 * control.final
