"""Where the parts meet: run configuration, presets, build, commands, the command line."""
