"""Experiments: each file is a config, and its docstring says what it takes and what to expect."""
