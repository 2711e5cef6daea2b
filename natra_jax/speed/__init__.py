"""Stopwatch for the speeds that matter here: `python -m natra_jax.speed`."""
