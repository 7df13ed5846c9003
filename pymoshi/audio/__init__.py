"""Sound: files, and the machine's devices. Knows nothing of models."""
