"""A rule of your own on the plastic synapses: they decay a little in every step, the more their input fires."""

import sys
from dataclasses import dataclass, replace

import mambrane


@dataclass
class Wither(mambrane.Method):
    """w <- w (1 - rate x), x the mean spikes of the synapse's input."""

    rate: float = 0.01
    name = "wither"
    numbers = (mambrane.Number("mean_rate", "wither: spikes of the inputs"),)

    def after_step(self, view):
        inputs = {name: [] for name in view.model.plastic_synapses()}
        for activity in view.activities:
            for name, (x_BTS, _) in view.model.synapse_spikes(activity).items():
                inputs[name].append(x_BTS.float().mean((0, 1)))
        rates = {name: sum(means) / len(means) for name, means in inputs.items()}
        weights = {name: view.model.get_parameter(name) * (1 - self.rate * x_S) for name, x_S in rates.items()}
        return mambrane.StepChange({"mean_rate": sum(float(x.mean()) for x in rates.values()) / len(rates)}, weights)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


if __name__ == "__main__":
    config = mambrane.presets.tiny()
    config = replace(config, run=replace(config.run, output_dir=sys.argv[1]))
    mambrane.train(config, extensions=[Wither()], listeners=[mambrane.ConsoleListener()])
