"""A run of two tasks with replay and what stands beside it, which can be left and taken up anywhere."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mambrane.core.events import EventLog
from mambrane.data.domains import Domain
from mambrane.data.tokens import TokenFile
from mambrane.engine.config import EngineConfig
from mambrane.engine.objective import fused_next_token_objective
from mambrane.engine.trainer import Trainer
from mambrane.models.language_model import LanguageModel
from mambrane.settings.config import RunConfig
from mambrane.settings.methods import build_extensions
from mambrane.settings.named_settings import config_of
from mambrane.storage.state_files import EncodedState, decode_state, encode_state
from tests.continual.conftest import END_OF_TEXT, loader_of

STEPS_OF_A_TASK = 6
ENGINE = EngineConfig(accumulation_steps=1, learning_rate=1e-2)


def _domain(name: str, seed: int) -> Domain:
    """Return text in which no sequence comes twice, so that each is known by its tokens."""
    tokens = np.random.default_rng(seed).integers(0, END_OF_TEXT, 500).astype(np.uint16)
    tokens[::50] = END_OF_TEXT
    text = TokenFile(tokens, END_OF_TEXT, num_bytes=500, num_documents=10, content_hash=name)
    return Domain(name, text, text, name, {})


DOMAINS = (_domain("one", 1), _domain("other", 2))


def config_with(**settings: object) -> RunConfig:
    """Return a run of replay alone, with settings by name."""
    plain = {"preset": "tiny", "use_stdp": False, "use_meta_plasticity": False, "replay_buffer_size": 12}
    config = config_of({**plain, "replay_fraction": 0.5, **settings}, source="a test")
    return replace(config, data=replace(config.data, sequence_length=20))


class TwoTasks:
    """One process of such a run: everything is built anew, and the saved state is all that survives it."""

    def __init__(self, build_model: Callable[..., LanguageModel], config: RunConfig, **model: object) -> None:
        self.model = build_model(**model)
        self.extensions = build_extensions(config, self.model)
        self.trainer = Trainer(
            self.model,
            ENGINE,
            device=torch.device("cpu"),
            events=EventLog(),
            extensions=self.extensions,
            objective=fused_next_token_objective,
        )
        self.loaders = [loader_of(domain) for domain in DOMAINS]
        self.numbers: list[dict[str, float]] = []

    def first_task(self) -> "TwoTasks":
        """Learn the first task and end it."""
        self._steps(0, STEPS_OF_A_TASK)
        self.trainer.end_task(self.loaders[0], 0)
        return self

    def second_task(self, steps: int = STEPS_OF_A_TASK, *, begins: bool = True) -> "TwoTasks":
        """Learn some steps of the second task."""
        self._steps(1, steps, begins=begins)
        return self

    def _steps(self, task: int, steps: int, *, begins: bool = True) -> None:
        if begins:
            self.trainer.begin_task(STEPS_OF_A_TASK)
        for result, _ in zip(self.trainer.steps(self.loaders[task]), range(steps), strict=False):
            self.numbers.append({**result.numbers, **result.terms})

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of all weights."""
        return {name: weight.clone() for name, weight in self.model.state_dict().items()}

    def saved(self) -> EncodedState:
        """Return what a checkpoint would hold."""
        return encode_state([self.trainer.state_dict(), *(loader.state_dict() for loader in self.loaders)], copy=True)

    def load(self, saved: EncodedState) -> "TwoTasks":
        """Take it back."""
        for part, state in zip((self.trainer, *self.loaders), decode_state(*saved), strict=True):
            part.load_state_dict(state)
        return self


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Return whether two sets of weights are equal bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def ends_of_a_run_that_is_left(
    build_model: Callable[..., LanguageModel], config: RunConfig
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the last weights of a run in one piece, and of one that is taken up anew within the second task."""
    whole = TwoTasks(build_model, config).first_task().second_task(3)
    taken_up = TwoTasks(build_model, config).load(whole.saved())
    return whole.second_task(begins=False).weights(), taken_up.second_task(begins=False).weights()
