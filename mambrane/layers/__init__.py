"""One idea a module, forward and step side by side."""
