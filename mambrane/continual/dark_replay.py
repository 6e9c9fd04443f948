"""Dark experience replay (DER++): a replayed sequence also recalls what the model predicted when it first read it.

    term = alpha  sum over counted targets of KL(stored || now)  +  (beta - 1)  sum over them of their nats
           over the replayed rows of a micro-batch                                                          in nats

Beside each sequence that enters the replay buffer stand the model's k likeliest next tokens at each position with their
log-probabilities, as of the step that first trained on it; KL compares these and, as one more outcome, everything else.
The loss itself already holds the replayed rows with weight 1, so beta = 1 adds nothing.

What differs from the paper: KL on the k likeliest in place of the squared distance of all logits, which would take 2 V
bytes a token and does poorly with many classes; and both terms are taken of the same rows, where the paper draws twice.
A sequence has no term before its step was applied, nor where that step was not finite. Text that the model itself wrote
(--replay-source generated) has none. It takes 6 k bytes for each token of the buffer, and the head runs once more on
the rows concerned.

Source: Buzzega et al., Dark Experience for General Continual Learning (arXiv 2004.07211), equations 4 to 6.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mambrane.continual.chunked_logits import log_probabilities, sum_over_chunks
from mambrane.continual.config import ContinualConfig
from mambrane.continual.replay import Replay
from mambrane.continual.replay_buffer import stored_capacity
from mambrane.core.errors import UserError
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.engine.extensions import StepChange, StepView
from mambrane.engine.method import Method, Number
from mambrane.engine.objective import nats_of
from mambrane.models.language_model import LanguageModel
from mambrane.models.state import ModelOutput

SMALLEST_REST = 1e-6
"""Probability that everything beside the k likeliest tokens has at least, so that its logarithm is finite."""
BYTES_PER_PREDICTION = 6
"""A token as int32 and its log-probability as float16."""


class DarkReplay(Method):
    """Loss term and after-step extension beside `Replay`, whose buffer it reads."""

    name = "dark_replay"
    across_ranks = True
    numbers = (Number("sequences_with_predictions", "dark replay: sequences in memory with their predictions"),)

    @classmethod
    def is_used(cls, config: Any) -> bool:  # noqa: ANN401 -- a run's configuration
        """Return whether the configuration turns it on."""
        continual = config.continual
        return continual.use_replay and (continual.dark_replay_strength > 0 or continual.replay_label_strength != 1)

    @classmethod
    def build(cls, config: Any, model: LanguageModel) -> "DarkReplay":  # noqa: ANN401 -- a run's configuration
        """Return it for a run."""
        return cls(config.continual, sequence_length=config.data.sequence_length, vocab_size=model.vocab_size)

    @classmethod
    def kept_bytes(cls, config: Any) -> int:  # noqa: ANN401 -- a run's configuration
        """Return what the predictions take, with the whole buffer in use."""
        continual = config.continual
        if continual.dark_replay_strength == 0:
            return 0
        tokens = stored_capacity(continual) * config.data.sequence_length
        return BYTES_PER_PREDICTION * continual.dark_replay_top_k * tokens

    def __init__(self, config: ContinualConfig, *, sequence_length: int, vocab_size: int) -> None:
        """Know no prediction yet; no more are kept for a token than the vocabulary has."""
        self.config = config
        self.replay: Replay | None = None
        """Whose buffer this stands beside."""
        capacity = stored_capacity(config) if config.dark_replay_strength > 0 else 0
        shape = (capacity, sequence_length, min(config.dark_replay_top_k, vocab_size))
        self._tokens = torch.zeros(shape, dtype=torch.int32)
        self._log_probabilities = torch.zeros(shape, dtype=torch.float16)
        self._known_as = torch.zeros(capacity, dtype=torch.int64)
        """Fingerprint of the sequence whose predictions stand at an index of the buffer; of no other they count."""
        self._has = torch.zeros(capacity, dtype=torch.bool)
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []
        """Fingerprints, tokens and log-probabilities of new sequences since the last applied step; not saved."""

    def meet(self, others: Sequence[Method]) -> None:
        """Find the replay of the run."""
        self.replay = next(other for other in others if isinstance(other, Replay))

    def term(self, model: LanguageModel, output: ModelOutput, batch: MicroBatch) -> Tensor | None:
        """Return both terms of the replayed rows; None where there are none."""
        assert self.replay is not None, "it has met the replay"
        # One copy to the host, which looks the rows up.
        fingerprint_B = self.replay.buffer.fingerprints_of(batch).cpu()
        place_B, is_replayed_B = self.replay.buffer.places_of(fingerprint_B), self.replay.replays(fingerprint_B)
        is_known_B = self._is_known(place_B)
        if self.config.dark_replay_strength > 0:
            self._look(model, output, batch, ((place_B >= 0) & ~is_replayed_B & ~is_known_B).nonzero()[:, 0])
        terms = []
        recalled = (is_replayed_B & is_known_B).nonzero()[:, 0]
        if len(recalled):
            terms.append(self.config.dark_replay_strength * self._divergence(model, output, batch, recalled, place_B))
        if is_replayed_B.any() and self.config.replay_label_strength != 1:
            rows = is_replayed_B.nonzero()[:, 0].to(batch.inputs_BT.device)
            terms.append((self.config.replay_label_strength - 1) * nats_of(output, batch)[rows].sum())
        return torch.stack(terms).sum() if terms else None

    def _is_known(self, place_B: Tensor) -> Tensor:
        """Return whether the predictions at these places are there and belong to the sequences that are there now."""
        assert self.replay is not None, "it has met the replay"
        is_known_B = torch.zeros_like(place_B, dtype=torch.bool)
        if len(self._has):
            is_there_B = place_B >= 0
            places = place_B[is_there_B]
            is_same = self._known_as[places] == self.replay.buffer.fingerprints[places]
            is_known_B[is_there_B] = self._has[places] & is_same
        return is_known_B

    @torch.no_grad()
    def _look(self, model: LanguageModel, output: ModelOutput, batch: MicroBatch, rows: Tensor) -> None:
        """Note what is predicted on new sequences of the buffer; it enters once the step is applied."""
        assert output.hidden_BTD is not None, "LanguageModel returns them"
        assert self.replay is not None, "it has met the replay"
        if not len(rows):
            return
        rows = rows.to(batch.inputs_BT.device)
        hidden_BTD = output.hidden_BTD[rows]
        tops = [
            log_probabilities(hidden_TD, model.head_weight).topk(self._tokens.shape[-1], dim=-1)
            for hidden_TD in hidden_BTD
        ]
        tokens_BTK = torch.stack([top.indices for top in tops]).to(torch.int32)
        values_BTK = torch.stack([top.values for top in tops]).to(torch.float16)
        self._seen.append((self.replay.buffer.fingerprints_of(batch.rows(rows)), tokens_BTK, values_BTK))

    def _divergence(
        self, model: LanguageModel, output: ModelOutput, batch: MicroBatch, rows: Tensor, place_B: Tensor
    ) -> Tensor:
        assert output.hidden_BTD is not None, "LanguageModel returns them"
        device, places = batch.inputs_BT.device, place_B[rows]
        rows = rows.to(device)
        return top_divergence(
            output.hidden_BTD[rows].flatten(0, 1),
            model.head_weight,
            self._tokens[places].flatten(0, 1).to(device, torch.int64),
            self._log_probabilities[places].flatten(0, 1).to(device),
            counted_N=(batch.targets_BT[rows] != IGNORED_TARGET).flatten(),
        )

    def after_step(self, view: StepView) -> StepChange:
        """Keep the predictions on those new sequences of the applied step that are still in the buffer."""
        assert self.replay is not None, "it has met the replay"
        buffer = self.replay.buffer
        applied = [buffer.fingerprints_of(batch).cpu() for batch in view.micro_batches]
        wanted = torch.cat(applied) if applied else torch.zeros(0, dtype=torch.int64)
        seen, self._seen = [tuple(part.cpu() for part in parts) for parts in self._seen], []
        for of_rank in view.ranks.gather([parts for parts in seen if torch.isin(parts[0], wanted).any()]):
            for fingerprint_B, tokens_BTK, values_BTK in of_rank:
                place_B = buffer.places_of(fingerprint_B)
                self._keep(place_B, fingerprint_B, tokens_BTK, values_BTK)
        known = self._is_known(buffer.places_of(buffer.fingerprints))
        return StepChange({"sequences_with_predictions": float(known.sum())})

    def _keep(self, place_B: Tensor, fingerprint_B: Tensor, tokens_BTK: Tensor, values_BTK: Tensor) -> None:
        """Put predictions at places of the buffer; those of sequences that are not there (-1) are dropped."""
        is_there_B = place_B >= 0
        places = place_B[is_there_B]
        self._tokens[places] = tokens_BTK[is_there_B]
        self._log_probabilities[places] = values_BTK[is_there_B]
        self._known_as[places] = fingerprint_B[is_there_B]
        self._has[places] = True

    def state_dict(self) -> dict[str, Any]:
        """Return the predictions, each with the fingerprint of its sequence."""
        kept = self._has.nonzero()[:, 0]
        return {
            "fingerprints": self._known_as[kept],
            "tokens": self._tokens[kept],
            "log_probabilities": self._log_probabilities[kept],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back, to where their sequences now stand in the buffer.

        Raises:
            UserError: fewer tokens were kept than this run asks for.
        """
        assert self.replay is not None, "it has met the replay"
        saved, own = state["tokens"].shape[-1], self._tokens.shape[-1]
        if len(state["tokens"]) and len(self._has) and saved < own:
            raise UserError(
                f"--dark-replay-top-k {own}: {saved} next tokens were kept of each position that is remembered",
                wanted="no more than were kept",
                way_out=f"--dark-replay-top-k {saved}",
            )
        self._seen = []
        self._has.zero_()
        if len(self._has):
            fingerprint_B = state["fingerprints"]
            places = self.replay.buffer.places_of(fingerprint_B)
            # The likeliest stand first.
            tops = (state[name][..., :own] for name in ("tokens", "log_probabilities"))
            self._keep(places, fingerprint_B, *tops)


def top_divergence(
    x_ND: Float[Tensor, "N D"],
    weight_VD: Float[Tensor, "V D"],
    tokens_NK: Int[Tensor, "N K"],
    log_probabilities_NK: Float[Tensor, "N K"],
    *,
    counted_N: Tensor,
) -> Tensor:
    """Return KL(stored || softmax(W x)) over the K stored tokens and the rest, summed over what counts, in nats.

    With K = V it is the whole divergence, else a lower bound of it. Gradients flow to x and W. No more than
    CHUNK_LOGITS logits exist at a time, in the forward pass and again in the backward pass.
    """

    def of_chunk(x_CD: Tensor, tokens_CK: Tensor, stored_CK: Tensor, counted_C: Tensor) -> Tensor:
        now_CK = log_probabilities(x_CD, weight_VD).gather(1, tokens_CK)
        stored_CK = stored_CK.to(now_CK.dtype)
        nats_C = (stored_CK.exp() * (stored_CK - now_CK)).sum(dim=1)
        if tokens_CK.shape[1] < weight_VD.shape[0]:
            stored_rest_C, rest_C = (1.0 - each.exp().sum(dim=1) for each in (stored_CK, now_CK))
            stored_rest_C, rest_C = stored_rest_C.clamp(min=SMALLEST_REST), rest_C.clamp(min=SMALLEST_REST)
            nats_C = nats_C + stored_rest_C * (stored_rest_C.log() - rest_C.log())
        return nats_C.where(counted_C, 0.0).sum()

    return sum_over_chunks(of_chunk, weight_VD.shape[0], x_ND, tokens_NK, log_probabilities_NK, counted_N)
