"""Comparisons that print the numbers of the README and the docs; parity is checked before time is taken."""
