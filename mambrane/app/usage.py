"""What the command line says of itself before it says anything of a setting."""

USAGE = """\
Mambrane {version}: hybrid spiking, liquid and Mamba language models, trained task after task without forgetting.

  mambrane train    --preset tiny             train (minutes on two cores); run it again to resume
  mambrane learn    RUN --data PATH ...       teach a run more text, and show what that cost the older one
  mambrane evaluate RUN                       bits per byte of every domain
  mambrane generate RUN --prompt "..."        write text
  mambrane report   RUN                       one HTML page about the run
  mambrane watch    RUN                       the same page in a browser, following the run while it trains
  mambrane score    RUN FILE                  bits per byte of each line as it comes
  mambrane serve    RUN                       the model as a server that speaks OpenAI's API
  mambrane compare  RUN RUN                   settings, metrics, matrices side by side
  mambrane export   RUN --to folder           the model for others: hub, transformers, NIR
  mambrane info     RUN                       what the model is made of and what it has learned
  mambrane study    STUDY                     a grid of settings, seeds and orders, and its table
  mambrane completion bash                    complete commands and flags in a shell (zsh, fish)
  mambrane info                               versions, processor, caches: what a bug report needs

RUN is the folder of a run. `mambrane COMMAND --help` explains each command.
"""
TRAIN_INTRODUCTION = """\
mambrane train [settings]: train a model on a sequence of text domains.
Run the same command again after any interruption: it resumes.

  mambrane train --preset tiny                 the built-in text, as five tasks
  mambrane train --preset tiny --data texts/   your own: each file is a task
  mambrane train --preset tiny --dry-run       only say what would happen

A preset is a whole recipe: Mamba, gating, cross-attention, continual learning
and replay are on, STDP and meta-plasticity off; --no-use-replay switches one of
them off, --use-stdp one on. What the presets take on the built-in text, on two
cores:

{presets}
"""
LEARN_INTRODUCTION = """\
mambrane learn RUN --data PATH ... [settings]: teach a run more text, a task for
each file or folder. Run the same command again after any interruption: it
resumes, and says so where everything is learned. The run may be finished or
not, and its older text may be gone.

  mambrane learn runs/first --data letters/
  mambrane learn runs/first --data letters/ --max-forgetting 0.05

With --max-forgetting or --min-gain a task that does not keep to them is taken
back bit for bit, and the exit code is {taken_back}. Settings that are left out are
those that the run began with, but for the recipe of later tasks:

  {recipe}

which rests on replay and is left out where a run has none; --dry-run shows what
holds. --epochs are those of this text in all. Model, tokenizer, sequence length
and seed of a run stay as they are.
"""
