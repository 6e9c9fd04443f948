"""A run as a model of the Language Model Evaluation Harness (lm_eval), the field's usual collection of tasks.

    import lm_eval
    results = lm_eval.simple_evaluate(model=mambrane.harness_model("runs/first"), tasks=["lambada_openai"])

A context is a document of its own: it starts with the end-of-text token. There is no longest context.
Source of the interface: https://github.com/EleutherAI/lm-evaluation-harness (lm_eval/api/model.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mambrane.core.optional_package import optional_package
from mambrane.core.seeding import make_generator
from mambrane.measure.decoding import Decoder
from mambrane.measure.sampling import Sampling
from mambrane.measure.writing import Writing
from mambrane.run.run import Run
from mambrane.run.text import decoder_of

MOST_TOKENS = 256
"""Tokens that an answer has at most, where the task does not say."""


class Answers:
    """What the harness asks for, without the harness."""

    def __init__(self, run: Run) -> None:
        self._model, self._tokenizer = run.usable_model, run.tokenizer
        self._start = [run.tokenizer.end_of_text]
        self._read: tuple[list[int], Decoder] | None = None
        """The context that was read last: the answers to a question with choices share one."""

    def log_likelihood(self, context: str, continuation: str) -> tuple[float, bool]:
        """Return ln p(continuation | context), and whether each of its tokens was the most likely one."""
        # As the harness does: spaces belong to the continuation, and tokens may join over the border.
        bare = context.rstrip()
        continuation = context[len(bare) :] + continuation
        before = self._tokenizer.encode(bare.encode()).tolist()
        tokens = self._tokenizer.encode((bare + continuation).encode()).tolist()[len(before) :]
        decoder, total, is_greedy = self._after([*self._start, *before]), 0.0, True
        for token in tokens:
            scores_V = decoder.scores().double()
            total += float(scores_V[token] - scores_V.logsumexp(-1))
            is_greedy = is_greedy and int(scores_V.argmax()) == token
            decoder.read([token])
        return total, is_greedy

    def rolling_log_likelihood(self, text: str) -> float:
        """Return ln p of a whole text."""
        tokens = self._tokenizer.encode(text.encode()).tolist()
        return -sum(self._after(self._start).nats(tokens)) if tokens else 0.0

    def answer(self, context: str, settings: dict[str, Any]) -> str:
        """Return what the model writes after a context, up to one of the texts in `until`."""
        until = settings.get("until") or []
        stop = [until] if isinstance(until, str) else [text for text in until if text]
        temperature = float(settings.get("temperature", 0.0)) if settings.get("do_sample") else 0.0
        sampling = Sampling(
            temperature=temperature, top_k=int(settings.get("top_k", 0)), top_p=float(settings.get("top_p", 1.0))
        )
        decoder = self._after([*self._start, *self._tokenizer.encode(context.encode()).tolist()])
        most = int(settings.get("max_gen_toks", MOST_TOKENS))
        generator = make_generator(0, "harness", context)
        return "".join(Writing(decoder, self._tokenizer, [], sampling, generator, max_tokens=most, stop=stop))

    def _after(self, tokens: Sequence[int]) -> Decoder:
        """Return a decoder of its own that has read these tokens."""
        if self._read is None or self._read[0] != list(tokens):
            decoder = decoder_of(self._model, self._tokenizer)
            decoder.read(tokens)
            self._read = (list(tokens), decoder)
        return self._read[1].copy()


def harness_model(run: Run | Path | str) -> Any:  # noqa: ANN401 -- lm_eval.api.model.LM, of a package that may be missing
    """Return a run as the Language Model Evaluation Harness takes it: `lm_eval.simple_evaluate(model=...)`.

    Args:
        run: the run, or its folder.

    Raises:
        UserError: the extra `eval` is not installed.
    """
    LM: Any = optional_package("lm_eval.api.model", extra="eval", asked_for="the harness").LM
    answers = Answers(run if isinstance(run, Run) else Run.open(run))

    class MambraneModel(LM):
        """See the module's first lines."""

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            """Return ln p and whether it is greedy, for each pair of context and continuation."""
            return [answers.log_likelihood(*request.args) for request in requests]

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            """Return ln p of each text."""
            return [answers.rolling_log_likelihood(*request.args) for request in requests]

        def generate_until(self, requests: list[Any]) -> list[str]:
            """Return the answer to each pair of context and settings."""
            return [answers.answer(*request.args) for request in requests]

    return MambraneModel()
