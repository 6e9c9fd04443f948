"""One long sequence over several ranks: convolution and scan of the pieces, with what a rank hands on, are the whole's.

    h_in[r+1] = exp(A sum_t delta[t]) h_in[r] + h_from_zero[r]          the sum is infinite where a document starts

Every rank scans its piece from the zero state at the same time; what it found is h_from_zero [E, N] and the sum of
delta [E]. From those of the ranks before it, a rank knows the state that it starts from, and scans once more. Gradients
of a state go back the same way. Neurons cannot: a reset of the membrane is not linear (docs/scale.md says the cost).
"""

from queue import Queue
from threading import Thread

import pytest
import torch

from benchmarks.scale import handed_on_bytes
from mambrane.models.config import ModelConfig
from mambrane.ops import causal_conv, selective_scan

NUM_RANKS = 3
ROWS, TOKENS, CHANNELS, STATES, TAPS = 2, 13, 4, 3, 4
BACKEND = "reference"


def draw(with_resets):
    """Return inputs of both operations, in float64, and where documents start."""
    generator = torch.Generator().manual_seed(3)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    along = {
        "x_BTE": normal(ROWS, TOKENS, CHANNELS),
        "delta_BTE": normal(ROWS, TOKENS, CHANNELS).exp(),
        "B_BTN": normal(ROWS, TOKENS, STATES),
        "C_BTN": normal(ROWS, TOKENS, STATES),
    }
    shared = {
        "A_EN": -normal(CHANNELS, STATES).exp(),
        "weight_EK": normal(CHANNELS, TAPS),
        "bias_E": normal(CHANNELS),
    }
    resets_BT = torch.zeros(ROWS, TOKENS, dtype=torch.bool)
    if with_resets:
        resets_BT[0, 7] = resets_BT[1, 2] = True
    return along, shared, resets_BT


def forward(along, shared, resets_BT, *, tail_BEK=None, state_BEN=None):
    """Return y, and what the convolution and the scan hand on."""
    u_BTE, tail_BEK = causal_conv(
        along["x_BTE"],
        shared["weight_EK"],
        shared["bias_E"],
        state_BEK=tail_BEK,
        resets_BT=resets_BT,
        backend=BACKEND,
    )
    y_BTE, state_BEN = selective_scan(
        u_BTE,
        along["delta_BTE"],
        shared["A_EN"],
        along["B_BTN"],
        along["C_BTN"],
        state_BEN=state_BEN,
        resets_BT=resets_BT,
        backend=BACKEND,
    )
    return y_BTE, tail_BEK, state_BEN


class Rank(Thread):
    """Holds a piece of the sequence, and talks to its two neighbours and, for the chunk algebra, to those behind it."""

    def __init__(self, rank, along, shared, resets_BT, gradient_BTE, mail):
        super().__init__()
        self.rank, self.resets_BT, self.gradient_BTE, self.mail = rank, resets_BT, gradient_BTE, mail
        self.along = {name: piece.clone().requires_grad_() for name, piece in along.items()}
        self.shared = {name: tensor.clone().requires_grad_() for name, tensor in shared.items()}

    def send(self, what, rank, value):
        self.mail.setdefault((what, rank), Queue()).put(value)

    def receive(self, what):
        return self.mail.setdefault((what, self.rank), Queue()).get(timeout=60)

    def run(self):
        tail_BEK = self._tail().requires_grad_()
        state_BEN = self._state(tail_BEK).requires_grad_()
        self.y_BTE, tail_out, state_out = forward(
            self.along, self.shared, self.resets_BT, tail_BEK=tail_BEK, state_BEN=state_BEN
        )
        outputs, gradients = [self.y_BTE], [self.gradient_BTE]
        if self.rank < NUM_RANKS - 1:
            outputs += [tail_out, state_out]
            gradients += self.receive("gradients")
        torch.autograd.backward(outputs, gradients)
        if self.rank > 0:
            self.send("gradients", self.rank - 1, [tail_BEK.grad, state_BEN.grad])

    def _tail(self):
        """Return the last inputs of the rank before; only the neighbour is asked."""
        if self.rank < NUM_RANKS - 1:
            x_BKE = self.along["x_BTE"].detach()[:, -(TAPS - 1) :]
            is_new_document_BT = self.resets_BT[:, -(TAPS - 1) :]
            # An input counts for the next rank if no document starts behind it.
            is_seen_BK = is_new_document_BT.flip(1).cumsum(1).flip(1) - is_new_document_BT.long() == 0
            self.send("tail", self.rank + 1, (x_BKE * is_seen_BK[..., None]).transpose(1, 2))
        if self.rank == 0:
            return torch.zeros(ROWS, CHANNELS, TAPS - 1, dtype=torch.float64)
        return self.receive("tail")

    @torch.no_grad()
    def _state(self, tail_BEK):
        """Scan from the zero state, tell the ranks behind, and return the state that the ranks before lead to."""
        _, _, from_zero_BEN = forward(self.along, self.shared, self.resets_BT, tail_BEK=tail_BEK)
        total_BE = self.along["delta_BTE"].sum(1).masked_fill(self.resets_BT.any(1)[:, None], torch.inf)
        for behind in range(self.rank + 1, NUM_RANKS):
            self.send(f"found by {self.rank}", behind, (from_zero_BEN, total_BE))
        state_BEN = torch.zeros_like(from_zero_BEN)
        for before in range(self.rank):
            found_BEN, passed_BE = self.receive(f"found by {before}")
            state_BEN = torch.exp(self.shared["A_EN"] * passed_BE[..., None]) * state_BEN + found_BEN
        return state_BEN


@pytest.mark.parametrize("with_resets", [False, True], ids=["one document", "documents"])
def test_pieces_on_ranks_give_outputs_and_gradients_of_the_whole(with_resets):
    along, shared, resets_BT = draw(with_resets)
    gradient_BTE = torch.cos(torch.arange(along["x_BTE"].numel(), dtype=torch.float64)).view_as(along["x_BTE"])
    cuts = [slice(r * TOKENS // NUM_RANKS, (r + 1) * TOKENS // NUM_RANKS) for r in range(NUM_RANKS)]
    mail = {(what, rank): Queue() for rank in range(NUM_RANKS) for what in ("tail", "gradients")}
    mail |= {(f"found by {a}", b): Queue() for a in range(NUM_RANKS) for b in range(NUM_RANKS)}
    ranks = [
        Rank(
            number,
            {name: tensor[:, cut] for name, tensor in along.items()},
            shared,
            resets_BT[:, cut],
            gradient_BTE[:, cut],
            mail,
        )
        for number, cut in enumerate(cuts)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()

    whole_along = {name: tensor.clone().requires_grad_() for name, tensor in along.items()}
    whole_shared = {name: tensor.clone().requires_grad_() for name, tensor in shared.items()}
    y_BTE, _, _ = forward(whole_along, whole_shared, resets_BT)
    y_BTE.backward(gradient_BTE)
    torch.testing.assert_close(torch.cat([rank.y_BTE for rank in ranks], dim=1), y_BTE)
    for name, tensor in whole_along.items():
        torch.testing.assert_close(torch.cat([rank.along[name].grad for rank in ranks], dim=1), tensor.grad)
    for name, tensor in whole_shared.items():
        torch.testing.assert_close(sum(rank.shared[name].grad for rank in ranks), tensor.grad)


def test_a_rank_hands_on_the_bytes_of_one_state_whatever_the_length():
    """[E, N] and [E] of the scan and [E, K-1] of the convolution, in float32."""
    config = ModelConfig(hidden_dim=512, mamba_expand=2, mamba_d_state=32, mamba_d_conv=4)
    assert handed_on_bytes(config) == 4 * (1024 * 32 + 1024 + 1024 * 3)
