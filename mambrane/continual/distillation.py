"""Distillation: the model as the last task left it, the teacher, says what it would have predicted on the new text.

    term = strength T^2  sum over counted targets y of p(y)^c KL(teacher || student)                        in nats
    teacher, student = softmax(logits / T) of the next token,  T the temperature
    p(y)             = the teacher's probability of the right next token, at temperature 1;  c the confidence power

With c = 0 the teacher is heard everywhere, on new text too, which it does not know. With c > 0 it is heard where it is
right: what the new text shares with the old, and replayed text.

The factor T^2 keeps the gradient, which falls as 1 / T^2, of the same size at every temperature. When a task ends, the
student is copied and the copy is the next teacher; the first task has none. Its weights are those of the step, like the
anchor of the regularizer, and not their moving average: that belongs to the engine, and no boundary sees it.

Sources: Li & Hoiem, Learning without Forgetting (arXiv 1606.09282); T^2: Hinton et al., Distilling the Knowledge in a
Neural Network (arXiv 1503.02531), section 2; a teacher that counts only where it is right: Meng et al., Conditional
Teacher-Student Learning (arXiv 1904.12399), which decides by its guess where p(y)^c decides by degrees.
"""

import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mambrane.continual.chunked_logits import at_temperature, log_probabilities, logits, sum_over_chunks
from mambrane.continual.config import ContinualConfig
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import BoundaryView, TakeUpView
from mambrane.engine.method import Method
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import ModelOutput


class Distillation(Method):
    """Loss term and boundary: holds the predictions where the earlier tasks left them."""

    name = "distillation"
    across_ranks = True

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return whether the configuration turns it on."""
        return config.continual.distillation_strength > 0

    @classmethod
    def build(cls, config: Any, model: LanguageModel) -> "Distillation":  # noqa: ANN401 -- a run's configuration
        """Return it for a run."""
        return cls(config.continual, model)

    @classmethod
    def kept_per_parameter(cls, config: Any) -> int:  # noqa: ANN401 -- a run's configuration
        """Return the teacher's weights."""
        return int(config.has_earlier_tasks)

    def __init__(self, config: ContinualConfig, model: LanguageModel) -> None:
        self.config = config
        self.model = model
        self.teacher: LanguageModel | None = None
        """The model at the last boundary; None during the first task."""

    def term(self, model: LanguageModel, output: ModelOutput, batch: MicroBatch) -> Tensor | None:
        """Return how far the student is from its teacher, or None while there is no teacher or no strength."""
        strength, temperature = self.config.distillation_strength, self.config.distillation_temperature
        if self.teacher is None or strength == 0:
            return None
        with torch.no_grad():
            taught = self.teacher.hidden_states(batch.inputs_BT, resets_BT=batch.resets_BT)
        assert output.hidden_BTD is not None, "LanguageModel returns them"
        assert taught.hidden_BTD is not None, "LanguageModel returns them"
        divergence = head_divergence(
            output.hidden_BTD.flatten(0, 1),
            model.head_weight,
            taught.hidden_BTD.flatten(0, 1),
            self.teacher.head_weight,
            targets_N=batch.targets_BT.flatten(),
            temperature=temperature,
            confidence_power=self.config.distillation_confidence_power,
        )
        return strength * temperature**2 * divergence

    def boundary(self, view: BoundaryView) -> None:
        """Make the model as the ended task leaves it the next teacher."""
        self.teacher = frozen_copy(view.model)

    def take_up(self, view: TakeUpView) -> None:
        """Make the model as the last task left it the teacher."""
        self.teacher = frozen_copy(view.model)

    def state_dict(self) -> dict[str, Any]:
        """Return the teacher's weights; none during the first task."""
        return {"teacher": {} if self.teacher is None else dict(self.teacher.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the teacher back; raises ValueError when it was another model."""
        self.teacher = None
        if state["teacher"]:
            teacher = frozen_copy(self.model)
            try:
                teacher.load_state_dict(state["teacher"])
            except RuntimeError as error:
                raise ValueError(f"the saved teacher does not fit this model: {error}") from error
            self.teacher = teacher


def frozen_copy(model: LanguageModel) -> LanguageModel:
    """Return a copy in evaluation mode that no gradient flows to."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def head_divergence(
    student_ND: Tensor,
    student_weight_VD: Tensor,
    teacher_ND: Tensor,
    teacher_weight_VD: Tensor,
    *,
    targets_N: Tensor,
    temperature: float,
    confidence_power: float,
) -> Tensor:
    """Return p(y)^c KL(teacher || student) of softmax(W x / temperature), summed over the targets that count, in nats.

    Gradients flow to the student. No more than CHUNK_LOGITS logits of each model exist at a time. Tokens that do not
    count are worked on too and then left out: picking them would make a GPU wait until their number is known.
    """

    def of_chunk(student_CD: Tensor, teacher_CD: Tensor, targets_C: Tensor) -> Tensor:
        student_CV = log_probabilities(student_CD, student_weight_VD, temperature=temperature)
        teacher_CV = logits(teacher_CD, teacher_weight_VD)
        softened_CV = at_temperature(teacher_CV, temperature)
        nats_C = functional.kl_div(student_CV, softened_CV, reduction="none", log_target=True).sum(dim=1)
        counted_C = targets_C != IGNORED_TARGET
        if confidence_power > 0:
            right_C1 = targets_C.where(counted_C, 0).unsqueeze(1)
            log_confidence_C = at_temperature(teacher_CV, 1.0).gather(1, right_C1).squeeze(1)
            nats_C = nats_C * (confidence_power * log_confidence_C).exp()
        return nats_C.where(counted_C, 0.0).sum()

    return sum_over_chunks(of_chunk, student_weight_VD.shape[0], student_ND, teacher_ND, targets_N)
