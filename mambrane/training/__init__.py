"""A run from its configuration to its end: put together, announced, trained, gone on with, taught more."""
