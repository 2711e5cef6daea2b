"""BigGAN (Brock et al. 2019, "Large scale GAN training for high fidelity natural image synthesis").

As in the authors' PyTorch code:

    layer 0: a linear layer of the first chunk of z -> 4x4 features
    layer l: a residual block that doubles the resolution, its BatchNorms' gains and biases a linear
             function of [chunk l of z, class]; behind some of them self-attention
    last: BatchNorm, ReLU, a 3x3 convolution, tanh

The class is the label's entry of one embedding that all blocks share, or, without one, the label's
distribution itself.

    generator = biggan(
        resolution=32, channels=(64, 64, 64, 64), z_dim=128, label_dim=10, embed_dim=128
    )
    params = generator.init(jax.random.key(0))
    z = generator.sample(jax.random.key(1), 2)
    images = generator.synthesize(
        params, generator.map(params, z, np.array([3, 7]))
    )  # [2, 32, 32, 3]
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from natra_jax.generators import biggan_parts as parts
from natra_jax.generators import ops
from natra_jax.generators.resampling import repeat
from natra_jax.types import Generator, Params


@functools.cache
def biggan(
    *,
    resolution: int,
    channels: tuple[int, ...],
    z_dim: int,
    label_dim: int,
    embed_dim: int = 0,
    hierarchical: bool = True,
    attention: tuple[int, ...] = (),
    eps: float = 1e-5,
    output_eps: float = 1e-5,
    truncation: float | None = None,
) -> Generator:
    """Make a BigGAN; the same numbers give the same object.

    Args:
      resolution: a power of two, at least 8.
      channels: of the linear layer's 4x4 features, then of each block's.
      z_dim: of z.
      label_dim: number of classes.
      embed_dim: of the shared class embedding; 0: none, every block has a gain and a bias for each
        class.
      hierarchical: z is split into one chunk a layer, z_dim rounded down to a multiple of their
        number. Otherwise all of z feeds layer 0, and in the codes of the other layers, which see
        the class alone, its entries are 0 and without effect.
      attention: the resolutions behind whose block it stands.
      eps: of the blocks' BatchNorms.
      output_eps: of the last one.
      truncation: t draws z from t times a normal distribution cut off at +-2; None, as the authors
        train: from a normal one.

    Raises:
      ValueError: for numbers that fit no generator.
    """
    num_blocks = ops.doublings("biggan", resolution)
    num_layers = num_blocks + 1
    if len(channels) != num_layers:
        raise ValueError(
            f"biggan: {resolution} px need {num_layers} numbers of channels, got {len(channels)}"
        )
    resolutions = [4 * 2**layer for layer in range(num_layers)]
    if not set(attention) <= set(resolutions[1:]):
        raise ValueError(
            f"biggan: attention must be at resolutions in {resolutions[1:]}, got {list(attention)}"
        )
    chunk = z_dim // num_layers if hierarchical else z_dim
    if chunk < 1:
        raise ValueError(f"biggan: z_dim must be at least 1 for each layer, got {z_dim}")
    if embed_dim < 0:
        raise ValueError(f"biggan: embed_dim must be at least 0, got {embed_dim}")
    attended = [channels[resolutions.index(r)] for r in attention]
    parts.check("biggan", channels, attended, (eps, output_eps), truncation, label_dim=label_dim)
    class_dim = embed_dim or label_dim
    unseen = 0 if hierarchical else chunk  # entries of a code, the first, that blocks do not see

    def init(key: jax.Array) -> Params:
        keys = iter(jax.random.split(key, 3 + 6 * num_blocks))
        layers = [parts.init_convolution(next(keys), chunk, 16 * channels[0])]
        for layer in range(1, num_layers):
            before, after = channels[layer - 1], channels[layer]
            seen = chunk + class_dim - unseen
            block = {
                "norm1": parts.init_norm(next(keys), seen, before),
                "conv1": parts.init_convolution(next(keys), 3, 3, before, after),
                "norm2": parts.init_norm(next(keys), seen, after),
                "conv2": parts.init_convolution(next(keys), 3, 3, after, after),
                "shortcut": parts.init_convolution(next(keys), before, after),
            }
            attention_key = next(keys)
            if resolutions[layer] in attention:
                block["attention"] = parts.init_attention(attention_key, after)
            layers.append(block)
        norms = [
            {"norm1": parts.init_statistics(before), "norm2": parts.init_statistics(after)}
            for before, after in zip(channels[:-1], channels[1:], strict=True)
        ]
        return {
            "mapping": {"embedding": parts.init_embedding(next(keys), label_dim, embed_dim)}
            if embed_dim
            else {},
            "layers": layers,
            "output": parts.init_output(next(keys), channels[-1]),
            "buffers": {"layers": [{}, *norms], "output": parts.init_statistics(channels[-1])},
        }

    def spread(z: jax.Array) -> jax.Array:
        """Return the z part of each layer's code, [B, L, chunk]."""
        if hierarchical:
            return z.reshape(len(z), num_layers, chunk)
        return jnp.pad(z[:, None], ((0, 0), (0, num_blocks), (0, 0)))

    def apply_block(params: Params, x: jax.Array, code: jax.Array, layer: int) -> jax.Array:
        p, statistics = params["layers"][layer], params["buffers"]["layers"][layer]
        seen = code[:, unseen:]
        h = repeat(
            jax.nn.relu(parts.normalize_by_code(p["norm1"], x, statistics["norm1"], seen, eps))
        )
        h = parts.convolve(p["conv1"], h)
        h = jax.nn.relu(parts.normalize_by_code(p["norm2"], h, statistics["norm2"], seen, eps))
        # a 1x1 convolution may stand before the upsampling as well as behind it, at a quarter of
        # the cost
        return parts.convolve(p["conv2"], h) + repeat(parts.convolve(p["shortcut"], x))

    def style(params: Params, l: int) -> jax.Array:
        p = params["layers"][l]
        return jnp.pad(parts.stacked([p["norm1"], p["norm2"]]), ((0, 0), (unseen, 0)))

    return parts.assemble(
        family="biggan",
        resolution=resolution,
        num_layers=num_layers,
        z_dim=chunk * num_layers if hierarchical else chunk,
        label_dim=label_dim,
        embed_dim=embed_dim,
        channels=channels[0],
        truncation=truncation,
        spread=spread,
        init=init,
        apply_block=apply_block,
        to_images=lambda params, x: parts.finish(
            params, x, params["buffers"]["output"], output_eps
        ),
        style=style,
    )
