"""The model in a training loop of your own: nothing but torch."""

import torch

import mambrane


def main(text: str = "the cat sat on the mat. " * 40, steps: int = 20, length: int = 32) -> float:
    """Train on a text's bytes and return the last loss, in nats per byte."""
    torch.manual_seed(0)
    config = mambrane.ModelConfig(hidden_dim=32, num_layers=1, spiking_units=16, use_mamba=True)
    model = mambrane.LanguageModel(config, vocab_size=256, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    data = torch.tensor(list(text.encode()))
    loss = torch.tensor(0.0)
    for step in range(steps):
        starts = torch.randint(len(data) - length - 1, (8,))
        rows = torch.stack([data[start : start + length + 1] for start in starts])
        logits = model(rows[:, :-1]).logits_BTV
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step + 1}: {loss.item():.3f} nats per byte")
    return loss.item()


if __name__ == "__main__":
    main()
