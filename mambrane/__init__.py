"""Mambrane trains hybrid spiking, liquid and Mamba language models on a sequence of tasks, without forgetting.

Folders stand in the order the data travels; a file imports only from folders above its own:

    core  data  ops  layers  models  engine  plasticity  continual  evaluation  app

Importing this package imports no torch, so that the command line answers at once.
"""

__version__ = "0.1.0"
