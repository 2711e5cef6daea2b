"""The common parts of BigGAN and BigGAN-deep (Brock et al. 2019), and how layers make a generator.

A class part in every code, BatchNorm whose gain and bias the code gives, self-attention (Zhang et
al. 2019) and the truncated prior. Spectral normalisation is not among them: a converted
checkpoint's weights are already divided by it.
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
    """Add to x [B, H, W, C] gamma times what each pixel reads from the map pooled to half its size.

    Weights of reading are softmax(query . key) (Zhang et al. 2019).
    """
    count, height, width, channels = x.shape

    def pooled(kernel: jax.Array) -> jax.Array:
        """Return [B, H * W / 4, O], maxima over 2x2 pixels of x @ kernel."""
        maps = (x @ kernel).reshape(count, height // 2, 2, width // 2, 2, -1).max((2, 4))
        return maps.reshape(count, height * width // 4, -1)

    query = (x @ params["theta"]).reshape(count, height * width, -1)
    weights = jax.nn.softmax(query @ pooled(params["phi"]).swapaxes(1, 2), axis=-1)
    read = (weights @ pooled(params["g"])).reshape(count, height, width, -1)
    return x + params["gamma"] * (read @ params["o"])


def init_attention(key: jax.Array, channels: int) -> Params:
    """Draw kernels [I, O]; gamma is 0, so that attention starts as the identity."""
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
    """Apply BatchNorm with stored statistics.

    Args:
      x: [B, H, W, C].
      statistics: {mean, variance}, [C] each.
      gain: [C], or [B, C] where each example has its own.
      bias: the same.
      epsilon: added to the variance.
    """
    scale = gain * jax.lax.rsqrt(statistics["variance"] + epsilon)
    if gain.ndim == 2:
        scale, bias = scale[:, None, None], bias[:, None, None]
    return (x - statistics["mean"]) * scale + bias


def normalize_by_code(
    params: Params, x: jax.Array, statistics: Params, code: jax.Array, epsilon: float
) -> jax.Array:
    """Apply BatchNorm with gain 1 + code @ params['gain'] and bias code @ params['bias'].

    Args:
      params: kernels {gain, bias}, [I, C] each.
      x: [B, H, W, C].
      statistics: {mean, variance}, [C] each.
      code: [B, I].
      epsilon: added to the variance.
    """
    return normalize(x, statistics, 1 + code @ params["gain"], code @ params["bias"], epsilon)


def init_norm(key: jax.Array, code_dim: int, channels: int) -> Params:
    """Draw the kernels of `normalize_by_code`."""
    gain, bias = jax.random.split(key)
    return {
        "gain": _kernel(gain, (code_dim, channels)),
        "bias": _kernel(bias, (code_dim, channels)),
    }


def init_statistics(*shape: int) -> Params:
    """Return mean 0 and variance 1."""
    return {"mean": jnp.zeros(shape), "variance": jnp.ones(shape)}


def convolve(params: Params, x: jax.Array) -> jax.Array:
    """Convolve x by {kernel, bias}; a kernel [I, O] is a 1x1 convolution."""
    kernel = params["kernel"]
    return (x @ kernel if kernel.ndim == 2 else conv2d(x, kernel)) + params["bias"]


def init_convolution(key: jax.Array, *shape: int) -> Params:
    """Draw a kernel of that shape; the bias is 0."""
    return {"kernel": _kernel(key, shape), "bias": jnp.zeros(shape[-1])}


def init_embedding(key: jax.Array, label_dim: int, embed_dim: int) -> jax.Array:
    """Draw the class embedding [label_dim, embed_dim]."""
    return _kernel(key, (label_dim, embed_dim))


def init_output(key: jax.Array, channels: int) -> Params:
    """Draw the parameters of `finish`."""
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
    """Raise ValueError, naming family, for numbers that cannot be.

    Args:
      family: of the generator.
      channels: of all layers.
      attended: channels that attention is over.
      epsilons: of BatchNorms.
      truncation: of the prior, or None.
      **sizes: numbers of at least 1, by name.
    """
    for name, size in {**sizes, "every number of channels": min(channels, default=0)}.items():
        if size < 1:
            raise ValueError(f"{family}: {name} must be at least 1, got {size}")
    if min(attended, default=8) < 8:
        raise ValueError(f"{family}: attention needs 8 channels or more, got {min(attended)}")
    if not all(0 < epsilon < 1 for epsilon in epsilons):
        raise ValueError(f"{family}: eps and output_eps must be between 0 and 1, got {epsilons}")
    if truncation is not None and not is_truncation(truncation):
        raise ValueError(
            f"{family}: truncation must be above 0 and at most 1, or None for a prior without, "
            f"got {truncation}"
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
    """Make a generator of a linear layer, which code 0 feeds, and blocks.

    params['layers'][l] may hold 'attention', which is the end of layer l.

    Args:
      family: its name.
      resolution: of its images.
      num_layers: the linear layer and the blocks.
      z_dim: of z.
      label_dim: number of classes.
      embed_dim: of the class embedding; 0: the class part is the label's distribution itself.
      channels: of the 4x4 map that the linear layer gives.
      truncation: z is drawn from so many times a normal distribution cut off at +-2; None: from
        N(0, I).
      spread: z [B, Z] -> the z part of each code, [B, L, chunk].
      init: (key) -> params.
      apply_block: (params, x, code, l) -> x, layer l >= 1.
      to_images: (params, x) -> images.
      style: (params, l) -> the matrix of layer l >= 1.
    """
    class_dim = embed_dim or label_dim
    chunk = jax.eval_shape(spread, jax.ShapeDtypeStruct((1, z_dim), jnp.float32)).shape[-1]

    def sample(key: jax.Array, n: int) -> jax.Array:
        if truncation is None:
            return jax.random.normal(key, (n, z_dim))
        return truncation * jax.random.truncated_normal(key, -2.0, 2.0, (n, z_dim))

    def with_class(params: Params, parts: jax.Array, label: jax.Array | None) -> jax.Array:
        """Put the class part behind the z part [B, L, chunk] of codes."""
        distribution = ops.class_distributions(label, label_dim)
        classes = distribution @ params["mapping"]["embedding"] if embed_dim else distribution
        return jnp.concatenate(
            [parts, jnp.broadcast_to(classes[:, None], (*parts.shape[:2], class_dim))], axis=-1
        )

    def apply(params: Params, x: jax.Array, code: jax.Array, layer: int, noise: None) -> jax.Array:
        p = params["layers"][layer]
        if layer:
            x = apply_block(params, x, code, layer)
        else:
            kernel = p["kernel"]
            x = x + (code[:, : len(kernel)] @ kernel).reshape(x.shape)
        return attention(p["attention"], x) if "attention" in p else x

    def start(params: Params, count: int) -> jax.Array:
        return jnp.broadcast_to(
            params["layers"][0]["bias"].reshape(4, 4, channels), (count, 4, 4, channels)
        )

    def style_(params: Params, l: int) -> jax.Array:
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
        map=lambda params, z, label: with_class(params, spread(z), label),
        start=start,
        apply=apply,
        finish=to_images,
        style=style_,
        class_entries=tuple(range(chunk, chunk + class_dim)),
        with_label=lambda params, codes, label: with_class(params, codes[..., :chunk], label),
    )


def finish(params: Params, x: jax.Array, statistics: Params, epsilon: float) -> jax.Array:
    """Make images in [-1, 1] of features x [B, H, W, C]: BatchNorm, ReLU, 3x3 convolution, tanh.

    Args:
      params: the generator's; those at 'output'.
      x: features behind the last block.
      statistics: {mean, variance} of the BatchNorm.
      epsilon: added to the variance.
    """
    p = params["output"]
    return jnp.tanh(
        convolve(
            p, jax.nn.relu(normalize(x, statistics, p["norm"]["gain"], p["norm"]["bias"], epsilon))
        )
    )


def stacked(norms: list[Params]) -> jax.Array:
    """Stack the kernels by which a code enters a block's BatchNorms, [I, C], to [outputs, I]."""
    return jnp.concatenate([norm[name].T for norm in norms for name in ("gain", "bias")])
