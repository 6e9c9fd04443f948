"""A spiking layer inside a model of transformers: GPT-2's feed-forward layers give way to hybrid blocks."""

import torch

import mambrane


class SpikingLayer(torch.nn.Module):
    """A hybrid block in the place of a feed-forward layer, which adds its input by itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        config = mambrane.ModelConfig(hidden_dim=width, num_layers=1, spiking_units=width // 2, use_mamba=True)
        self.block = mambrane.LanguageModel(config, 2, torch.Generator().manual_seed(0)).stack[0]

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """Return what the block adds to its input."""
        return self.block(x_BTD)[0] - x_BTD


def main(steps: int = 10) -> float:
    """Train the hybrid on a text and return the last loss, in nats per byte."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    size = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64, "vocab_size": 256}
    model = GPT2LMHeadModel(GPT2Config(**size, bos_token_id=0, eos_token_id=0))
    for layer in model.transformer.h:
        layer.mlp = SpikingLayer(32)
    optimizer, text = torch.optim.AdamW(model.parameters(), lr=3e-3), torch.tensor([list(b"spikes " * 9)])
    for _ in range(steps):
        loss = model(text, labels=text).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    print(f"{main():.3f} nats per byte")
