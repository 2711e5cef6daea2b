"""The speeds that matter here, side by side in one run, as ratios: `python -m natra_jax.speed`."""
