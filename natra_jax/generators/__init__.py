"""Generators: pure functions from codes to images, behind the type `natra_jax.types.Generator`.

import jax
from natra_jax import generators

generator = generators.style_small(resolution=16)
params = generators.load_weights("digits", generator)              # weights that come with natra_jax
z = generator.sample(jax.random.key(0), 4)
images = generator.synthesize(params, generator.map(params, z))    # [4, 16, 16, 3]
"""

from natra_jax.generators.built import GENERATORS, build
from natra_jax.generators.shipped import load_weights
from natra_jax.generators.style_small import style_small

__all__ = ["GENERATORS", "build", "load_weights", "style_small"]
