"""BigGAN-deep (Brock et al. 2019): the deeper network of the BigGAN paper.

As in the published TF Hub modules and in the authors' code:

    layer 0: a linear layer of [z, class] -> 4x4 features
    layer l: a residual block of four convolutions, 1x1, 3x3, 3x3, 1x1, the middle ones a quarter as
             wide. The gains and biases of its BatchNorms are a linear function of [z, class]. The
             shortcut upsamples, and drops the last channels where they become fewer. Behind some
             of them self-attention
    last: BatchNorm, ReLU, a 3x3 convolution, tanh

Where every layer has the same code the image is the original's; here each layer's may be another.

    generator = biggan_deep(
        resolution=16,
        channels=(64, 64, 64, 32),
        upsample=(True, False, True),
        z_dim=128,
        embed_dim=128,
        label_dim=10,
    )
    params = generator.init(jax.random.key(0))
    z = generator.sample(jax.random.key(1), 2)
    images = generator.synthesize(
        params, generator.map(params, z, np.array([3, 7]))
    )  # [2, 16, 16, 3]

The published modules store BatchNorm statistics for many truncations of the prior, at equal steps
between 0 and 1. Those of the truncation that a generator is made for are used.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from natra_jax.generators import biggan_parts as parts
from natra_jax.generators import ops
from natra_jax.generators.resampling import repeat
from natra_jax.types import Generator, Params

NORMS, CONVOLUTIONS = ("norm0", "norm1", "norm2", "norm3"), ("conv0", "conv1", "conv2", "conv3")


@functools.cache
def biggan_deep(
    *,
    resolution: int,
    channels: tuple[int, ...],
    upsample: tuple[bool, ...],
    z_dim: int,
    embed_dim: int,
    label_dim: int,
    attention: tuple[int, ...] = (),
    eps: float = 1e-4,
    output_eps: float = 1e-4,
    n_stats: int = 1,
    truncation: float | None = 1.0,
) -> Generator:
    """Make a BigGAN-deep; the same numbers give the same object.

    Args:
      resolution: a power of two, at least 8.
      channels: of the linear layer's 4x4 features, then of each block's, never more than those
        before.
      upsample: whether each block doubles the resolution.
      z_dim: of z.
      embed_dim: of the class embedding.
      label_dim: number of classes.
      attention: the layers behind which it stands; 0 is the linear one.
      eps: of the blocks' BatchNorms.
      output_eps: of the last one.
      n_stats: the number of statistics that each BatchNorm stores; 1: the same for all truncations.
      truncation: t draws z from t times a normal distribution cut off at +-2; None: from a normal
        one.

    Raises:
      ValueError: for numbers that fit no generator.
    """
    num_blocks = len(upsample)
    num_layers = num_blocks + 1
    if sum(upsample) != ops.doublings("biggan_deep", resolution):
        raise ValueError(
            f"biggan_deep: blocks that upsample {sum(upsample)} times from 4 px do not give "
            f"{resolution} px"
        )
    if len(channels) != num_layers or any(
        after > before for before, after in zip(channels[:-1], channels[1:], strict=True)
    ):
        raise ValueError(
            f"biggan_deep: {num_blocks} blocks need {num_layers} numbers of channels, "
            f"none above the one before: {channels}"
        )
    if not set(attention) <= set(range(num_layers)):
        raise ValueError(
            f"biggan_deep: attention must be behind layers in 0..{num_blocks}, "
            f"got {list(attention)}"
        )
    if min(channels[:-1]) < 4:
        raise ValueError(f"biggan_deep: blocks need 4 channels or more, got {min(channels[:-1])}")
    sizes = {"z_dim": z_dim, "embed_dim": embed_dim, "label_dim": label_dim, "n_stats": n_stats}
    parts.check(
        "biggan_deep",
        channels,
        [channels[l] for l in attention],
        (eps, output_eps),
        truncation,
        **sizes,
    )
    if truncation is None and n_stats > 1:
        raise ValueError("biggan_deep: statistics for several truncations need one")

    def init(key: jax.Array) -> Params:
        keys = iter(jax.random.split(key, 3 + 10 * num_layers))
        code_dim, layers, norms = z_dim + embed_dim, [], []
        for layer in range(num_layers):
            if layer == 0:
                p, statistics = parts.init_convolution(next(keys), code_dim, 16 * channels[0]), {}
            else:
                before, after = channels[layer - 1], channels[layer]
                middle = before // 4
                shapes = (
                    (before, middle),
                    (3, 3, middle, middle),
                    (3, 3, middle, middle),
                    (middle, after),
                )
                p = {
                    name: parts.init_convolution(next(keys), *shape)
                    for name, shape in zip(CONVOLUTIONS, shapes, strict=True)
                }
                p |= {
                    name: parts.init_norm(next(keys), code_dim, shape[-2])
                    for name, shape in zip(NORMS, shapes, strict=True)
                }
                statistics = {
                    name: parts.init_statistics(n_stats, shape[-2])
                    for name, shape in zip(NORMS, shapes, strict=True)
                }
            if layer in attention:
                p["attention"] = parts.init_attention(next(keys), channels[layer])
            layers.append(p)
            norms.append(statistics)
        return {
            "mapping": {"embedding": parts.init_embedding(next(keys), label_dim, embed_dim)},
            "layers": layers,
            "output": parts.init_output(next(keys), channels[-1]),
            "buffers": {"layers": norms, "output": parts.init_statistics(n_stats, channels[-1])},
        }

    def truncated(statistics: Params) -> Params:
        """Return the statistics [C] of the truncation, of those stored, [n_stats, C]."""
        first, share = stored(truncation, n_stats)
        second = min(first + 1, n_stats - 1)
        if share == 0:
            return {name: values[first] for name, values in statistics.items()}
        # the original gives the nearer statistics the smaller share; images as it makes them need
        # the same
        return {
            name: values[first] * share + values[second] * (1 - share)
            for name, values in statistics.items()
        }

    def apply_block(params: Params, x: jax.Array, code: jax.Array, layer: int) -> jax.Array:
        p, statistics = params["layers"][layer], params["buffers"]["layers"][layer]
        h, shortcut = x, x[..., : channels[layer]]
        for norm, conv in zip(NORMS, CONVOLUTIONS, strict=True):
            h = jax.nn.relu(
                parts.normalize_by_code(p[norm], h, truncated(statistics[norm]), code, eps)
            )
            if conv == "conv1" and upsample[layer - 1]:
                h, shortcut = repeat(h), repeat(shortcut)
            h = parts.convolve(p[conv], h)
        return h + shortcut

    return parts.assemble(
        family="biggan_deep",
        resolution=resolution,
        num_layers=num_layers,
        z_dim=z_dim,
        label_dim=label_dim,
        embed_dim=embed_dim,
        channels=channels[0],
        truncation=truncation,
        spread=lambda z: jnp.broadcast_to(z[:, None], (len(z), num_layers, z_dim)),
        init=init,
        apply_block=apply_block,
        to_images=lambda params, x: parts.finish(
            params, x, truncated(params["buffers"]["output"]), output_eps
        ),
        style=lambda params, l: parts.stacked([params["layers"][l][norm] for norm in NORMS]),
    )


def stored(truncation: float | None, n_stats: int) -> tuple[int, float]:
    """Return (i, share): the truncation has share of the i-th statistics, 1 - share of the next.

    share 0: the i-th of n_stats alone. Computed in Python floats and in the order of the original:
    for truncations such as 0.58 rounding decides which statistics are taken.
    """
    if n_stats == 1:
        return 0, 0.0
    assert truncation is not None, "several statistics belong to several truncations"
    share, first = math.modf(truncation / (1.0 / (n_stats - 1)))
    return int(first), share
