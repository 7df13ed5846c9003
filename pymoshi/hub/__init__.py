"""Model files: what they are called, how they are laid out, how they are made, where they come from.

Nothing here knows the engine, except that `convert` asks it to quantise rows of numbers.
"""
