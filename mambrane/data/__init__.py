"""Text to tokens to windows: domains, tokenizers, token files, loader."""
