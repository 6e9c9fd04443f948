"""A model as one compiled program for one token: instructions, where everything stands in memory, the program."""
