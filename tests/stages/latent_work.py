"""A work directory as the stage encoder leaves it.

It is `small`'s, with images of the generator's domain and a held-out split, a generator of 8 pixels
and an encoder of its codes, both with random weights.
"""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from natra_jax import generators, trees
from natra_jax.stages import data, encoder, generator
from natra_jax.stages.context import Context
from natra_jax.weights import generator_config
from tests.stages import small

NUM_DOMAIN, NUM_HELD_OUT = 30, 6


def config(**fields):
    """Return `small.config` of that generator and encoder; double underscores stand for dots."""
    own = {"resolution": 8, "channels_out": 3, "code_dim": 3, "base_channels": 2, "max_channels": 2}
    named = {f"generator__{name}": value for name, value in own.items()}
    named |= {"encoder__widths": (2,), "encoder__hidden": 4, "encoder__gamma2": 0.0}
    return small.config(**named | fields)


def random_like(tree, seed: int):
    """Return the tree with random weights, also where training starts from zeros."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: (0.5 * rng.normal(size=leaf.shape)).astype(leaf.dtype), tree)


def context(workdir: Path, c, said: list[str] | None = None) -> Context:
    """Return the context of a work directory with all that shift and encode read.

    Lines that are logged are appended to said.
    """
    made = small.context(workdir, c)
    # as the pipeline has it, a fingerprint for each task that measures
    made = made._replace(
        log=(said if said is not None else []).append,
        fingerprints={"encoder": "of encoder", "shift": "of shift"},
    )
    rng = np.random.default_rng(1)
    for name, count in (("wild", NUM_DOMAIN), ("val_iid", NUM_HELD_OUT)):
        images = rng.integers(0, 256, (count, *small.SHAPE), np.uint8)
        np.save(workdir / "data" / f"{name}_image.npy", images)
    np.save(workdir / "data" / "val_iid_label.npy", np.arange(NUM_HELD_OUT) % small.CLASSES)
    for name in ("generator", "encoder", "shift", "encode"):
        (made.workdir / name).mkdir(exist_ok=True)
    arguments = generator_config.own_arguments(c.generator)
    base = generators.build("style_small", arguments)
    params = random_like(jax.eval_shape(base.init, jax.random.key(0)), 0)
    generator.save(made.workdir / "generator", "style_small", arguments, params)
    model, _ = encoder.build(made)
    mean = np.zeros((base.num_layers, base.code_dim), np.float32)
    like = jax.eval_shape(lambda: model.init(jax.random.key(0), data.info(made).image_shape, mean))
    trees.save(made.workdir / "encoder" / "params.npz", random_like(like, 1))
    return made
