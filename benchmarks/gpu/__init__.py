"""What the presets take on a GPU: predicted everywhere, measured where there is one."""
