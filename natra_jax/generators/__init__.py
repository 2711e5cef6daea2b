"""Generators: pure functions from codes to images, behind the type `natra_jax.types.Generator`.

`style_small` is ours, for small images; the others are families that people have checkpoints of,
which `natra_jax.weights` reads.

import jax
from natra_jax import generators

generator = generators.style_small(resolution=16)
params = generators.load_weights("digits", generator)  # weights that come with natra_jax
z = generator.sample(jax.random.key(0), 4)
images = generator.synthesize(params, generator.map(params, z))  # [4, 16, 16, 3]
"""

from natra_jax.generators.biggan import biggan
from natra_jax.generators.biggan_deep import biggan_deep
from natra_jax.generators.dcgan import dcgan
from natra_jax.generators.pretrained import load_weights
from natra_jax.generators.progan import progan
from natra_jax.generators.registry import GENERATORS, Card, build
from natra_jax.generators.style_small import style_small
from natra_jax.generators.stylegan import stylegan
from natra_jax.generators.stylegan2 import stylegan2

__all__ = [
    "GENERATORS",
    "Card",
    "biggan",
    "biggan_deep",
    "build",
    "dcgan",
    "load_weights",
    "progan",
    "style_small",
    "stylegan",
    "stylegan2",
]
