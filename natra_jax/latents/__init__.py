"""Between images and codes, and what may vary.

Inverse encoding (NaTra section 3.2), latent codes expansion (section 3.3), attribute directing
(section 3.4.1) and the screening of directions.

import jax, numpy as np
from natra_jax import generators, latents

generator = generators.style_small(resolution=8, code_dim=16, base_channels=8, max_channels=8)
params = generator.init(jax.random.key(0))  # or generators.load_weights(...)
encoder = latents.inverse_encoder(generator, codes="w+", widths=(8, 8), hidden=8)
mean = np.zeros((4, 16), np.float32)
weights = encoder.init(jax.random.key(1), (8, 8, 3), mean)  # stages/encoder.py trains such
z = generator.sample(jax.random.key(2), 40)
images = generator.synthesize(params, generator.map(params, z))

codes = latents.encode(encoder, weights, images)  # [40, 4, 16]
# activations of the fine layers
seen = latents.activations(generator, params, codes, layers=(2, 4))
found = latents.discover(
    codes, seen, method="pca", num=2, layers=(2, 4), seed=0, fingerprint="mine"
)
# two sigma along the first, in layer 3 alone
moved = latents.edit(codes, found, r=np.array([2.0, 0.0]), layers=(3, 4))

dark = images.mean((1, 2, 3)) < images.mean()  # a label of each example
judge = lambda images, index: images.mean((1, 2, 3)) < 0.0  # tells whether it is still the same
measured = latents.screen(
    generator,
    params,
    found,
    codes,
    dark,
    judge,
    index=np.arange(40),
    multiples=(1.0, 2.0),
    seed=0,
)
measured.kept, measured.verdicts, latents.proposal(measured)
"""

from natra_jax.gan.networks import Encoder
from natra_jax.latents.choose import select
from natra_jax.latents.directions import activations, concatenate, discover
from natra_jax.latents.editing import edit
from natra_jax.latents.encoder import InverseEncoder, inverse_encoder
from natra_jax.latents.encoding import encode
from natra_jax.latents.expansion import Expansion, expand, expansion
from natra_jax.latents.reconstruction import Reconstruction
from natra_jax.latents.refinement import refine
from natra_jax.latents.saved import load, save
from natra_jax.latents.screening import Judge, Screening, proposal, screen
from natra_jax.latents.sefa import sefa

__all__ = [
    "Encoder",
    "Expansion",
    "InverseEncoder",
    "Judge",
    "Reconstruction",
    "Screening",
    "activations",
    "concatenate",
    "discover",
    "edit",
    "encode",
    "expand",
    "expansion",
    "inverse_encoder",
    "load",
    "proposal",
    "refine",
    "save",
    "screen",
    "sefa",
    "select",
]
