"""What BigGAN and BigGAN-deep have in common (Brock et al. 2019): a class part in every code, BatchNorm whose gain and bias the code gives,
self-attention (Zhang et al. 2019), the truncated prior, and how layers make a generator.

Spectral normalisation is no part of these: a converted checkpoint's weights are already divided by it.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from natra_jax.convolution import conv2d
from natra_jax.generators import ops
from natra_jax.generators.layered import layered
from natra_jax.types import Generator, Params

_kernel = jax.nn.initializers.lecun_normal()


def attention(params: Params, x: jax.Array) -> jax.Array:
    """x [B, H, W, C] + gamma * what every pixel reads, by dot products, from the map pooled to half its size."""
    count, height, width, channels = x.shape

    def pooled(kernel: jax.Array) -> jax.Array:
        maps = (x @ kernel).reshape(count, height // 2, 2, width // 2, 2, -1).max((2, 4))
        return maps.reshape(count, height * width // 4, -1)

    query = (x @ params["theta"]).reshape(count, height * width, -1)
    weights = jax.nn.softmax(query @ pooled(params["phi"]).swapaxes(1, 2), axis=-1)
    read = (weights @ pooled(params["g"])).reshape(count, height, width, -1)
    return x + params["gamma"] * (read @ params["o"])


def init_attention(key: jax.Array, channels: int) -> Params:
    """Kernels [I, O]; gamma 0, so that attention starts as the identity."""
    sizes = {
        "theta": (channels, channels // 8),
        "phi": (channels, channels // 8),
        "g": (channels, channels // 2),
    }
    sizes["o"] = (channels // 2, channels)
    kernels = {
        name: _kernel(k, size)
        for k, (name, size) in zip(jax.random.split(key, 4), sizes.items(), strict=True)
    }
    return {**kernels, "gamma": jnp.zeros(())}


def normalize(
    x: jax.Array, statistics: Params, gain: jax.Array, bias: jax.Array, epsilon: float
) -> jax.Array:
    """BatchNorm with stored statistics {mean, variance} [C]. gain, bias: [C], or [B, C] for an own one to each example."""
    scale = gain * jax.lax.rsqrt(statistics["variance"] + epsilon)
    if gain.ndim == 2:
        scale, bias = scale[:, None, None], bias[:, None, None]
    return (x - statistics["mean"]) * scale + bias


def normalize_by_code(
    params: Params, x: jax.Array, statistics: Params, code: jax.Array, epsilon: float
) -> jax.Array:
    """BatchNorm with gain 1 + code @ params['gain'] and bias code @ params['bias']: code [B, I], kernels [I, C]."""
    return normalize(x, statistics, 1 + code @ params["gain"], code @ params["bias"], epsilon)


def init_norm(key: jax.Array, code_dim: int, channels: int) -> Params:
    gain, bias = jax.random.split(key)
    return {
        "gain": _kernel(gain, (code_dim, channels)),
        "bias": _kernel(bias, (code_dim, channels)),
    }


def init_statistics(*shape: int) -> Params:
    return {"mean": jnp.zeros(shape), "variance": jnp.ones(shape)}


def convolve(params: Params, x: jax.Array) -> jax.Array:
    """By {kernel, bias}; a kernel [I, O] is a 1x1 convolution."""
    kernel = params["kernel"]
    return (x @ kernel if kernel.ndim == 2 else conv2d(x, kernel)) + params["bias"]


def init_convolution(key: jax.Array, *shape: int) -> Params:
    return {"kernel": _kernel(key, shape), "bias": jnp.zeros(shape[-1])}


def init_embedding(key: jax.Array, label_dim: int, embed_dim: int) -> jax.Array:
    return _kernel(key, (label_dim, embed_dim))


def init_output(key: jax.Array, channels: int) -> Params:
    return {
        "norm": {"gain": jnp.ones(channels), "bias": jnp.zeros(channels)},
        **init_convolution(key, 3, 3, channels, 3),
    }


def is_truncation(number: float) -> bool:
    """Tell whether z can be drawn from this number times a normal distribution cut off at +-2."""
    return 0 < number <= 1


def check(
    family: str,
    channels: tuple[int, ...],
    attended: list[int],
    epsilons: tuple[float, ...],
    truncation: float | None,
    **sizes: int,
) -> None:
    """Raises ValueError for sizes, widths, epsilons or a truncation that cannot be. attended: channels that attention is over."""
    for name, size in {**sizes, "every number of channels": min(channels, default=0)}.items():
        if size < 1:
            raise ValueError(f"{family}: {name} must be at least 1, got {size}")
    if min(attended, default=8) < 8:
        raise ValueError(f"{family}: attention needs 8 channels or more, got {min(attended)}")
    if not all(0 < epsilon < 1 for epsilon in epsilons):
        raise ValueError(f"{family}: eps and output_eps must be between 0 and 1, got {epsilons}")
    if truncation is not None and not is_truncation(truncation):
        raise ValueError(
            f"{family}: truncation must be above 0 and at most 1, or None for a prior without, got {truncation}"
        )


def assemble(
    *,
    family: str,
    resolution: int,
    num_layers: int,
    z_dim: int,
    label_dim: int,
    embed_dim: int,
    channels: int,
    truncation: float | None,
    spread: Callable[[jax.Array], jax.Array],
    init: Callable[[jax.Array], Params],
    apply_block: Callable[[Params, jax.Array, jax.Array, int], jax.Array],
    to_images: Callable[[Params, jax.Array], jax.Array],
    style: Callable[[Params, int], jax.Array],
) -> Generator:
    """A generator of a linear layer, which code 0 feeds, and blocks.

    channels: of the 4x4 map that the linear layer gives. spread: z [B, Z] -> the z part of each code, [B, L, chunk]. embed_dim: 0 where
    the class part is the label's distribution itself. apply_block: (params, x, code, l) -> x, layer l >= 1. to_images: (params, x)
    -> images. style: of layer l >= 1. params['layers'][l] may hold 'attention', which is the end of layer l.
    """
    class_dim = embed_dim or label_dim
    chunk = jax.eval_shape(spread, jax.ShapeDtypeStruct((1, z_dim), jnp.float32)).shape[-1]

    def sample(key, n):
        if truncation is None:
            return jax.random.normal(key, (n, z_dim))
        return truncation * jax.random.truncated_normal(key, -2.0, 2.0, (n, z_dim))

    def with_class(params, parts, label):
        distribution = ops.distributions(label, label_dim)
        classes = distribution @ params["mapping"]["embedding"] if embed_dim else distribution
        return jnp.concatenate(
            [parts, jnp.broadcast_to(classes[:, None], (*parts.shape[:2], class_dim))], axis=-1
        )

    def map_(params, z, label=None, truncation_psi=1.0, truncation_cutoff=None):
        parts = spread(z)
        return with_class(
            params, ops.truncate(parts, jnp.zeros(chunk), truncation_psi, truncation_cutoff), label
        )

    def apply(params, x, code, layer, noise):
        p = params["layers"][layer]
        if layer:
            x = apply_block(params, x, code, layer)
        else:
            kernel = p["kernel"]
            x = x + (code[:, : len(kernel)] @ kernel).reshape(x.shape)
        return attention(p["attention"], x) if "attention" in p else x

    def start(params, count):
        return jnp.broadcast_to(
            params["layers"][0]["bias"].reshape(4, 4, channels), (count, 4, 4, channels)
        )

    def style_(params, l):
        if l:
            return style(params, l)
        matrix = params["layers"][0]["kernel"].T
        return jnp.pad(matrix, ((0, 0), (0, chunk + class_dim - matrix.shape[1])))

    return layered(
        family=family,
        num_layers=num_layers,
        code_dim=chunk + class_dim,
        resolution=resolution,
        label_dim=label_dim,
        init=init,
        sample=sample,
        map=map_,
        start=start,
        apply=apply,
        finish=to_images,
        style=style_,
        class_entries=tuple(range(chunk, chunk + class_dim)),
        with_label=lambda params, codes, label: with_class(params, codes[..., :chunk], label),
    )


def finish(params: Params, x: jax.Array, statistics: Params, epsilon: float) -> jax.Array:
    """Features [B, H, W, C] -> images in [-1, 1]: BatchNorm, ReLU, a 3x3 convolution, tanh."""
    p = params["output"]
    return jnp.tanh(
        convolve(
            p, jax.nn.relu(normalize(x, statistics, p["norm"]["gain"], p["norm"]["bias"], epsilon))
        )
    )


def stacked(norms: list[Params]) -> jax.Array:
    """The kernels [I, C] with which a code enters the BatchNorms of a block, as one matrix [outputs, I]."""
    return jnp.concatenate([norm[name].T for norm in norms for name in ("gain", "bias")])


def doublings(family: str, resolution: int) -> int:
    """log2(resolution / 4). Raises ValueError for a resolution that is not a power of two, or less than 8."""
    levels = resolution.bit_length() - 3
    if levels < 1 or resolution != 4 * 2**levels:
        raise ValueError(
            f"{family}: resolution must be a power of two and at least 8, got {resolution}"
        )
    return levels
