"""An extension that fills every seam, changes nothing, and writes down the order."""

import torch

from mambrane.engine.extensions import StepChange


class Recorder:
    """Fills every seam, changes nothing, and writes down the order."""

    def __init__(self, name="recorder", journal=None):
        self.name = name
        self.journal = [] if journal is None else journal
        self.state = 0

    def note(self, seam):
        self.journal.append((self.name, seam))

    def mix(self, batch):
        self.note("mix")
        return batch

    def undo_point(self):
        self.note("undo_point")
        return lambda: self.note("undo")

    def term(self, model, output, batch):
        self.note("term")

    def penalty(self, model):
        self.note("penalty")

    def observe(self, gradients):
        self.note("observe")

    def gate(self, before, after):
        self.note("gate")
        assert before.keys() == after.keys()
        assert not any(torch.equal(before[name], after[name]) for name in after)
        return after

    def after_step(self, view):
        self.note("after_step")
        self.state += 1
        return StepChange({"state": float(self.state)})

    def boundary(self, view):
        self.note("boundary")

    def state_dict(self):
        return {"state": self.state}

    def load_state_dict(self, state):
        self.state = state["state"]
