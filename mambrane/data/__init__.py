"""Text to tokens to sequences: domains, tokenizers, token files, loader."""
