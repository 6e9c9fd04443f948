"""One of torchrun's processes: trains the toy on shuffled rows, six a step over all processes, saving every step.

    python -m torch.distributed.run ... -m benchmarks.engine_peers.processes_job ENGINE FOLDER STOP_AFTER DIE_IN

It goes on from the newest checkpoint, ends after STOP_AFTER steps of the run (0 never), and rank 1 ends itself in step
DIE_IN (0 never), once. Rank 0 writes the weights at the end. Accelerate and Fabric are used as their pages on
checkpoints say; the way "seedable" of Accelerate is the first with use_seedable_sampler.
"""

import os
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.engine_peers.jobs import Job, newest, number_in
from benchmarks.engine_peers.toy import TOKENS, ToyData, ToyModel, build_optimizer, mean_loss

ROWS_OF_STEP, NUM_STEPS = 6, 8
JOB = Job(micro_batches=ROWS_OF_STEP * NUM_STEPS // 2, shuffle=True)


class Run:
    """What all engines are told, and what is done to them."""

    def __init__(self, engine: str, folder: str, stop_after: str, die_in: str) -> None:
        self.engine, _, self.way = engine.partition(":")
        self.folder = Path(folder)
        self.stop_after, self.die_in = int(stop_after), int(die_in)
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])

    def may_die(self, step: int) -> None:
        """End this process in the midst of a step, if it is the one and has not yet."""
        mark = self.folder / "has-died"
        if self.rank == 1 and step == self.die_in and not mark.exists():
            mark.touch()
            os._exit(9)

    def loader(self) -> "DataLoader[dict[str, torch.Tensor]]":
        """Return the rows, shuffled, for one process."""
        return DataLoader(ToyData(JOB), batch_size=ROWS_OF_STEP // self.size, shuffle=True)

    def end(self, model: nn.Module) -> None:
        """Write the weights."""
        if self.rank == 0:
            torch.save([parameter.detach().clone() for parameter in model.parameters()], self.folder / "weights.pt")


def with_accelerate(run: Run) -> None:
    """Train with Accelerate."""
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration, set_seed

    accelerator = Accelerator(
        cpu=True, dataloader_config=DataLoaderConfiguration(use_seedable_sampler=run.way == "seedable")
    )
    set_seed(0)
    model = ToyModel(JOB)
    model, optimizer, loader = accelerator.prepare(model, build_optimizer(model, JOB), run.loader())
    step, checkpoint = 0, newest(str(run.folder), "step_*")
    if checkpoint is not None:
        accelerator.load_state(str(checkpoint))
        step = number_in(checkpoint)
    loader.set_epoch(0)
    for batch in accelerator.skip_first_batches(loader, step) if step else loader:
        step += 1
        loss = mean_loss(model(batch["input_ids"]), batch)
        run.may_die(step)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        accelerator.save_state(f"{run.folder}/step_{step}")
        if step == run.stop_after:
            return
    run.end(accelerator.unwrap_model(model))


def with_fabric(run: Run) -> None:
    """Train with Lightning Fabric."""
    from lightning.fabric import Fabric, seed_everything

    hosts_of_processes = int(os.environ["LOCAL_WORLD_SIZE"])
    fabric = Fabric(accelerator="cpu", devices=hosts_of_processes, strategy="ddp")
    fabric.launch()
    seed_everything(0, verbose=False)
    plain = ToyModel(JOB)
    model, optimizer = fabric.setup(plain, build_optimizer(plain, JOB))
    loader = fabric.setup_dataloaders(run.loader())
    step, checkpoint = 0, newest(str(run.folder), "step_*.ckpt")
    if checkpoint is not None:
        fabric.load(checkpoint, {"model": model, "optimizer": optimizer})
        step = number_in(checkpoint)
    for number, batch in enumerate(loader, start=1):
        if number <= step:
            continue
        loss = mean_loss(model(batch["input_ids"]), batch)
        run.may_die(number)
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        fabric.save(f"{run.folder}/step_{number}.ckpt", {"model": model, "optimizer": optimizer})
        if number == run.stop_after:
            return
    run.end(plain)


def with_mambrane(run: Run) -> None:
    """Train with Mambrane."""
    import numpy as np

    from benchmarks.engine_peers.with_mambrane import objective
    from mambrane.core.events import EventLog
    from mambrane.data.loader import SequenceLoader
    from mambrane.data.tokens import TokenFile
    from mambrane.engine.config import EngineConfig
    from mambrane.engine.ranks import open_ranks
    from mambrane.engine.trainer import Trainer
    from mambrane.storage.checkpoint import Checkpoints

    tokens = ToyData(JOB).inputs.flatten().numpy().astype(np.uint16)
    stream = TokenFile(tokens=tokens, end_of_text=0, num_bytes=tokens.size, num_documents=1, content_hash="toy")
    cpu = torch.device("cpu")
    with open_ranks(cpu, timeout_s=60.0) as ranks:
        model = ToyModel(JOB)
        config = EngineConfig(
            accumulation_steps=1,
            learning_rate=JOB.learning_rate,
            warmup_ratio=0.0,
            min_learning_rate_ratio=1.0,
            gradient_clip=0.0,
        )
        trainer = Trainer(
            model,
            config,
            device=cpu,
            events=EventLog(),
            objective=objective,
            optimizers=(build_optimizer(model, JOB),),
            ranks=ranks,
        )
        loader = SequenceLoader([stream], sequence_length=TOKENS, batch_size=ROWS_OF_STEP, seed=0, name="toy")
        trainer.begin_task(NUM_STEPS)
        checkpoints = Checkpoints(run.folder, keep=2, events=EventLog())
        checkpoint = ranks.first_before_others(checkpoints.load_newest)
        if checkpoint is not None:
            trainer.load_state_dict({**checkpoint.parts["trainer"], "weights": checkpoint.weights})
            loader.load_state_dict(checkpoint.parts["loader"])
        for _ in trainer.steps(loader):
            step = trainer.counters.closed
            run.may_die(step)
            state = trainer.state_dict()
            weights = state.pop("weights")
            if ranks.is_first:
                checkpoints.save(step, {"trainer": state, "loader": loader.state_dict()}, weights=weights)
            if step == run.stop_after:
                return
        run.end(model)


def main() -> None:
    """Train with the engine that is named."""
    torch.set_num_threads(1)
    run = Run(*sys.argv[1:])
    {"accelerate": with_accelerate, "fabric": with_fabric, "mambrane": with_mambrane}[run.engine](run)


if __name__ == "__main__":
    main()
