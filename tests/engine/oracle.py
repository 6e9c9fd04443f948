"""The oracle: training as one would write it by hand, one big batch for each step, in float64, without an engine."""

import math

import torch
from torch.nn import functional

from mambrane.core.shapes import IGNORED_TARGET
from mambrane.data.batch import MicroBatch
from mambrane.engine.config import EngineConfig


def joined(micro_batches: list[MicroBatch]) -> MicroBatch:
    """Concatenate the micro-batches of a step into one batch."""
    return MicroBatch(*(torch.cat(parts) for parts in zip(*micro_batches, strict=True)))


def learning_rate(step: int, total: int, config: EngineConfig) -> float:
    warmup = max(1, round(config.warmup_ratio * total)) if config.warmup_ratio > 0 else 0
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    part = min(1.0, (step + 1 - warmup) / max(1, total - warmup))
    low = config.learning_rate * config.min_learning_rate_ratio
    return low + (config.learning_rate - low) * 0.5 * (1.0 + math.cos(math.pi * part))


class Oracle:
    """Plain AdamW on plain batches; keeps the norms and losses it saw."""

    def __init__(
        self,
        model: torch.nn.Module,
        config: EngineConfig,
        total_steps: int,
        decaying_names: tuple[str, ...] = ("hidden.weight", "scores.weight"),
    ) -> None:
        self.model, self.config, self.total = model, config, total_steps
        decaying = [weight for name, weight in model.named_parameters() if name in decaying_names]
        others = [weight for name, weight in model.named_parameters() if name not in decaying_names]
        groups = [{"params": decaying, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, betas=(config.adam_beta1, config.adam_beta2), foreach=False)
        self.average = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        self.steps, self.norms, self.losses = 0, [], []

    def train_on(self, micro_batches: list[MicroBatch]) -> None:
        batch = joined(micro_batches)
        logits = self.model(batch.inputs_BT, resets_BT=batch.resets_BT).logits_BTV
        loss = functional.cross_entropy(logits.flatten(0, 1), batch.targets_BT.flatten(), ignore_index=IGNORED_TARGET)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip or math.inf)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.steps, self.total, self.config)
        self.optimizer.step()
        decay = min(self.config.ema_decay, (1 + self.steps) / (10 + self.steps))
        for name, weight in self.model.named_parameters():
            self.average[name] = decay * self.average[name] + (1 - decay) * weight.detach()
        self.steps += 1
        self.norms.append(float(norm))
        self.losses.append(float(loss.detach()))
