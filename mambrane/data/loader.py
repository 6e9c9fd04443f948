"""Sequences of token streams in an order that depends on (seed, name, pass) and on nothing else.

Each pass over the text cuts every stream, read as a ring, into ceil(n / T) sequences of T tokens that start at an
offset of that pass in [0, T), and shuffles the sequences of all streams together. Every token is an input once and a
target once; the last sequence of a stream is padded where n is not a multiple of T.

An epoch is a pass, or a smaller budget of tokens: then it takes that many sequences from where the epoch before it
stopped, so that no text comes a second time before all of it has come once, and a pass begins where one ends.

The cursor counts samples in two positions. Handing out a batch moves the first; `commit` moves the second up to
it, and only the second is saved. So a sequence that was read and never applied is read again after a restart.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from mambrane.core.errors import UserError
from mambrane.core.seeding import derive_seed, make_generator
from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.data.tokens import TokenFile
from mambrane.data.tokens_on_disk import TokensOnDisk


@dataclasses.dataclass(frozen=True)
class Cursor:
    """A place in the endless sequence of samples."""

    epoch: int = 0
    consumed_samples: int = 0


class SequenceLoader:
    """Micro-batches of shuffled sequences; count epochs by `epoch`, not by calls."""

    def __init__(
        self,
        domains: Sequence[TokenFile],
        *,
        sequence_length: int,
        batch_size: int,
        seed: int,
        name: str,
        epoch_tokens: int = 0,
        are_records: bool = False,
    ) -> None:
        """Stand before the first sequence.

        Args:
            domains: the streams.
            sequence_length: tokens in a sequence.
            batch_size: sequences in a micro-batch.
            seed: of the run.
            name: which of its loaders this is.
            epoch_tokens: tokens in an epoch, rounded up to whole sequences; 0, or more than there are: all tokens of
                all streams.
            are_records: each document is a record of the same length, sequence_length tokens and one more, whose last
                token is the one target and is not read; sequences then begin where documents do.
        """
        assert domains, "a loader needs at least one token file"
        self._streams = list(domains)
        self._sequence_length = sequence_length
        self._batch_size = batch_size
        self._seed = seed
        self._name = name
        self._epoch_tokens = epoch_tokens
        self._are_records = are_records
        self._step = sequence_length + are_records
        """Tokens from the start of a sequence to that of the next."""
        self._sequences_of = [-(-stream.num_tokens // self._step) for stream in self._streams]
        self._committed = Cursor()
        self._handed_out = Cursor()

    @property
    def epoch(self) -> int:
        """Epochs that are finished and committed."""
        return self._committed.epoch

    @property
    def end_of_text(self) -> int:
        """The token that starts each document."""
        return self._streams[0].end_of_text

    @property
    def num_samples(self) -> int:
        """Sequences in an epoch; the same in each."""
        in_a_pass = sum(self._sequences_of)
        return min(-(-self._epoch_tokens // self._step) or in_a_pass, in_a_pass)

    @property
    def num_tokens(self) -> int:
        """Tokens in an epoch; where it is a budget, a little less if short sequences are among its sequences."""
        in_a_pass = sum(stream.num_tokens for stream in self._streams)
        return min(self.num_samples * self._step, in_a_pass)

    @property
    def num_batches(self) -> int:
        """Micro-batches in an epoch, the last one may be smaller."""
        return -(-self.num_samples // self._batch_size)

    def epoch_batches(self) -> Iterator[MicroBatch]:
        """Yield the rest of the current epoch, then move to the next."""
        epoch = self._handed_out.epoch
        streams, starts, lengths = self._samples(epoch)
        while self._handed_out.epoch == epoch:
            first = self._handed_out.consumed_samples
            if first == self.num_samples:
                self._handed_out = Cursor(epoch + 1)
                return
            last = min(first + self._batch_size, self.num_samples)
            self._handed_out = Cursor(epoch, last)
            columns = (column[first:last].tolist() for column in (streams, starts, lengths))
            sequences = [(self._streams[stream], start, length) for stream, start, length in zip(*columns, strict=True)]
            batch = _batch(sequences, self._step)
            yield records_of(batch) if self._are_records else batch

    def commit(self) -> None:
        """Count everything handed out as consumed."""
        if self._handed_out.consumed_samples == self.num_samples:
            self._handed_out = Cursor(self._handed_out.epoch + 1)
        self._committed = self._handed_out

    def rewind(self) -> None:
        """Forget what was handed out since the last commit; it comes again."""
        self._handed_out = self._committed

    def state_dict(self) -> dict[str, Any]:
        """Return the committed cursor, and a fingerprint of all that decides the order."""
        return {**dataclasses.asdict(self._committed), "fingerprint": self._fingerprint()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a saved cursor.

        Raises:
            UserError: the data, the sequence length or the batch size is not what it was.
        """
        here, saved = self._fingerprint(), state["fingerprint"]
        differences = [
            f"{key}: {saved.get(key)} -> {here.get(key)}"
            for key in sorted(here.keys() | saved.keys())
            if here.get(key) != saved.get(key)
        ]
        if differences:
            raise UserError(
                f"the data of loader {self._name} changed since the run was saved: {'; '.join(differences)}",
                wanted="the text, --sequence-length, --batch-size, --epoch-tokens and --seed that the run started with",
                way_out="restore them, or start a new run in another --output-dir",
            )
        self._committed = Cursor(state["epoch"], state["consumed_samples"])
        self._handed_out = self._committed

    def _fingerprint(self) -> dict[str, Any]:
        return {
            "data": [stream.content_hash for stream in self._streams],
            "num_tokens": [stream.num_tokens for stream in self._streams],
            "sequence_length": self._sequence_length,
            "batch_size": self._batch_size,
            "seed": self._seed,
            "name": self._name,
            "epoch_tokens": self._epoch_tokens,
            **({"are_records": True} if self._are_records else {}),
        }

    def _samples(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return stream number, start and length of every sequence of an epoch, in its order."""
        if not any(self._sequences_of):
            return self._samples_of_pass(epoch)
        parts = []
        wanted = self.num_samples
        number, first = divmod(epoch * wanted, sum(self._sequences_of))
        while wanted:
            parts.append([column[first : first + wanted] for column in self._samples_of_pass(number)])
            wanted -= len(parts[-1][0])
            number, first = number + 1, 0
        streams, starts, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))
        return streams, starts, lengths

    def _samples_of_pass(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return stream number, start and length of every sequence of a pass, in its order."""
        columns = []
        for index, (stream, num_sequences) in enumerate(zip(self._streams, self._sequences_of, strict=True)):
            offset = derive_seed(self._seed, "offset", self._name, index, number) % self._step
            offset = 0 if self._are_records else offset
            first = np.arange(num_sequences, dtype=np.int64) * self._step
            lengths = np.minimum(self._step, stream.num_tokens - first)
            columns.append((np.full(num_sequences, index), (first + offset) % stream.num_tokens, lengths))
        streams, starts, lengths = (np.concatenate(column) for column in zip(*columns, strict=True))
        generator = make_generator(self._seed, "order", self._name, number)
        order = torch.randperm(sum(self._sequences_of), generator=generator).numpy()
        return streams[order], starts[order], lengths[order]


def heldout_batches(token_file: TokenFile, sequence_length: int, batch_size: int) -> Iterator[MicroBatch]:
    """Yield a whole stream in order: every token is a target once, each sequence starts from zero state."""
    sequences = [
        (token_file, start, min(sequence_length, token_file.num_tokens - start))
        for start in range(0, token_file.num_tokens, sequence_length)
    ]
    for first in range(0, len(sequences), batch_size):
        yield _batch(sequences[first : first + batch_size], sequence_length)


def records_of(batch: MicroBatch) -> MicroBatch:
    """Return rows of a whole record each as what is read of it, with the record's last token as the only target."""
    targets_BT = torch.full_like(batch.targets_BT[:, :-1], IGNORED_TARGET)
    targets_BT[:, -1] = batch.inputs_BT[:, -1]
    return MicroBatch(batch.inputs_BT[:, :-1], targets_BT, batch.resets_BT[:, :-1])


def _batch(sequences: Sequence[tuple[TokenFile, int, int]], sequence_length: int) -> MicroBatch:
    """Stack sequences (stream, start, length); a short one is padded with END_OF_TEXT and ignored targets."""
    inputs = np.empty((len(sequences), sequence_length), dtype=np.int64)
    targets = np.full((len(sequences), sequence_length), IGNORED_TARGET, dtype=np.int64)
    for row, (stream, start, length) in enumerate(sequences):
        tokens = _ring_slice(stream.tokens, start, length + 1)
        inputs[row] = stream.end_of_text
        inputs[row, :length] = tokens[:-1]
        targets[row, :length] = tokens[1:]
    ends = np.array([[stream.end_of_text] for stream, _, _ in sequences])
    return MicroBatch(torch.from_numpy(inputs), torch.from_numpy(targets), torch.from_numpy(inputs == ends))


def _ring_slice(tokens: np.ndarray | TokensOnDisk, start: int, length: int) -> np.ndarray:
    """Return `length` tokens from `start` on; behind the last token comes the first."""
    piece = tokens[start : start + length]
    while len(piece) < length:
        piece = np.concatenate([piece, tokens[: length - len(piece)]])
    return piece
