"""Stage directions: unsupervised attribute directing (NaTra section 3.4.1)."""

from __future__ import annotations

import jax
import numpy as np
from etils import epath

from natra_jax import attacks
from natra_jax.latents import directions
from natra_jax.methods import Latent, natra
from natra_jax.stages import encode, generator
from natra_jax.stages.context import Context
from natra_jax.types import Directions


def run(context: Context, directory: epath.Path) -> None:
    c = context.config.directions
    generator_, params = generator.load(context)
    if c.codes == "prior":
        codes = np.asarray(generator_.map(params, generator_.sample(jax.random.key(c.seed), c.num_codes)))
    else:
        codes = np.asarray(encode.wild_codes(context))
    layers = tuple(c.layers)
    seen = directions.activations(generator_, params, codes, layers) if c.space == "activations" else codes[:, layers[0] : layers[1]]
    found = directions.discover(
        codes, seen, method=c.method, num=c.num, layers=layers, seed=c.seed, fingerprint=context.fingerprints["generator"], dim=c.dim,
        neighbors=c.neighbors, regression=c.regression,
    )  # fmt: skip
    directions.save(found, directory)
    sigmas = ", ".join(f"{s:.2f}" for s in found.sigma)
    where = f"in the {c.space} of {len(codes)} codes, layers {layers[0]}-{layers[1] - 1}"
    context.say(f"directions: {len(found.names)} by {c.method} {where}, sigma {sigmas}")


def load(context: Context) -> Directions:
    return directions.load(context.workdir / "directions", context.fingerprints["generator"])


def space(context: Context) -> attacks.Space:
    """The space of natural variation that natra trains on and latent_accuracy attacks in."""
    return natra.space(context.config, Latent(*generator.load(context), load(context)))
