"""Rules that change weights beside the gradient: STDP, homeostasis, meta-plasticity."""
