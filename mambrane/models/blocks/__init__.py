"""The kinds of block that `--block-pattern` knows, one a file: the file's name is the name in the pattern.

Each file offers what `mambrane.models.block.BlockKind` says: a new kind is a new file here, found by its name.
"""
