"""StyleGAN2 (Karras et al. 2020, arXiv 1912.04958; the options of 2020b, arXiv 2006.06676).

    generator = stylegan2(resolution=256)
    z = generator.sample(key, 4)
    codes = generator.map(params, z, truncation_psi=0.7)
    images = generator.synthesize(params, codes)  # [4, 256, 256, 3]

Convolutions are numbered from 0, the one at 4x4 pixels; behind it come two at each resolution, of
which the first doubles it. Code l feeds convolution l, an odd one also the layer to RGB at the
resolution that then ends, where there is one. The last code feeds such a layer alone:
L = 2 log2(resolution) - 2. Behind code l, the image summed up beside the features is still that of
the resolution before.

Modulated weights of unit length are not made. Instead the channels of a convolution's input are
multiplied with the styles, and those of its output with the inverse length: the same numbers, with
one kernel for the whole batch.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from natra_jax.convolution import conv2d
from natra_jax.generators import style_mapping
from natra_jax.generators.layered import layered
from natra_jax.generators.ops import (
    dense,
    distributions,
    doublings,
    leaky_relu,
    standard_normal,
)
from natra_jax.generators.resampling import Taps, up_conv2d, upsample2d
from natra_jax.types import Features, Generator, Params

ARCHITECTURES = ("skip", "resnet", "orig")
DTYPES = ("float32", "bfloat16", "float16")
NOISES = ("const", "none", "random")


def modulated_conv2d(
    x: jax.Array, kernel: jax.Array, styles: jax.Array, taps: Taps | None = None
) -> jax.Array:
    """Convolve each example with its own kernel, modulated and demodulated.

    The kernel is kernel * styles[:, None], scaled to unit length for each output channel (Karras et
    al. 2020, section 2.2). In low precision kernel and styles are first scaled to a largest entry
    that keeps sums in range (2020b); the output is the same.

    Args:
      x: [B, H, W, C].
      kernel: [k, k, C, K].
      styles: [B, C].
      taps: of the filter with which the resolution doubles (`up_conv2d`); None: it stays.

    Returns:
      [B, H, W, K], or [B, 2H, 2W, K] with taps.
    """
    if x.dtype != jnp.float32:
        fan_in = math.prod(kernel.shape[:3])
        kernel = kernel / (
            math.sqrt(fan_in) * jnp.abs(kernel).max((0, 1, 2), keepdims=True).clip(1e-8)
        )
        styles = styles / jnp.abs(styles).max(1, keepdims=True).clip(1e-8)
    scale = jax.lax.rsqrt(jnp.square(styles) @ jnp.square(kernel).sum((0, 1)) + 1e-8)
    x, kernel = x * styles[:, None, None].astype(x.dtype), kernel.astype(x.dtype)
    y = conv2d(x, kernel) if taps is None else up_conv2d(x, kernel, taps)
    return y * scale[:, None, None].astype(x.dtype)


@functools.cache
def stylegan2(
    *,
    resolution: int,
    z_dim: int = 512,
    code_dim: int = 512,
    label_dim: int = 0,
    channels: tuple[int, ...] | None = None,
    img_channels: int = 3,
    architecture: str = "skip",
    mapping_layers: int = 8,
    mapping_features: int | None = None,
    embed_features: int | None = None,
    joint_norm: bool = False,
    lr_mul: float = 0.01,
    conv_clamp: float | None = None,
    use_noise: bool = True,
    resample_filter: tuple[float, ...] = (1, 3, 3, 1),
    dtype: str = "float32",
    low_precision_resolutions: int = 4,
) -> Generator:
    """Make a StyleGAN2; the same numbers give the same object.

    Of `synthesize`, noise may also be a sequence: for each convolution one of NOISES, or an array
    [B or 1, H, W, 1]. 'random' is drawn anew for each example and convolution. In `Features`, rgb
    is None where no image is summed up yet; with 'resnet', x is a pair between the two
    convolutions of a resolution.

    Args:
      resolution: a power of two, at least 8.
      z_dim: of z.
      code_dim: D, of w.
      label_dim: number of classes; 0: unconditional.
      channels: of the features at 4, 8, ... pixels; by default min(512, 32768 / pixels).
      img_channels: of the image.
      architecture: how the RGB image comes about, 'skip' (summed up over resolutions), 'resnet' or
        'orig' (from the last features).
      mapping_layers: dense layers of the mapping network.
      mapping_features: their width; by default code_dim.
      embed_features: numbers that a label is embedded as; by default code_dim.
      joint_norm: normalise z and the label's embedding together, as the first StyleGAN2 program.
      lr_mul: of the mapping network.
      conv_clamp: bound of all features and RGB images; None: no bound.
      use_noise: whether convolutions have noise.
      resample_filter: taps.
      dtype: 'float32', 'bfloat16' or 'float16', of the highest resolutions.
      low_precision_resolutions: so many of them compute in dtype, but never 4x4.

    Raises:
      ValueError: for numbers that cannot be.
    """
    levels = doublings("stylegan2", resolution)
    widths = (
        tuple(min(512, 32768 // (4 * 2**level)) for level in range(levels + 1))
        if channels is None
        else tuple(channels)
    )
    if len(widths) != levels + 1:
        raise ValueError(
            f"stylegan2: channels must be {levels + 1} numbers, for 4 to {resolution} pixels, "
            f"got {list(widths)}"
        )
    if architecture not in ARCHITECTURES or dtype not in DTYPES:
        raise ValueError(
            f"stylegan2: architecture must be one of {', '.join(ARCHITECTURES)} and dtype of "
            f"{', '.join(DTYPES)}, got {architecture!r} and {dtype!r}"
        )
    if (
        min(*widths, z_dim, code_dim, img_channels, mapping_layers) < 1
        or min(label_dim, low_precision_resolutions) < 0
    ):
        raise ValueError(
            "stylegan2: needs positive dimensions, channels and number of mapping layers"
        )
    if (
        not resample_filter
        or not math.isfinite(sum(resample_filter))
        or sum(resample_filter) == 0
        or lr_mul == 0
    ):
        raise ValueError(
            f"stylegan2: resample_filter {resample_filter} or lr_mul {lr_mul} cannot be scaled by"
        )
    if conv_clamp is not None and not conv_clamp > 0:
        raise ValueError(f"stylegan2: conv_clamp must be positive or None, got {conv_clamp}")
    num_layers = 2 * levels + 2
    rgb_levels = range(levels + 1) if architecture == "skip" else range(levels, levels + 1)
    mapping = {"lr_mul": lr_mul, "joint_norm": joint_norm}

    def precision(level: int) -> jnp.dtype:
        return jnp.dtype(
            dtype if level >= max(1, levels + 1 - low_precision_resolutions) else "float32"
        )

    def side(layer: int) -> int:
        return 4 * 2 ** ((layer + 1) // 2)

    def init(key: jax.Array) -> Params:
        key_mapping, key_constant, key_noise, *keys = jax.random.split(key, 3 + 3 * num_layers)
        keys = iter(keys)

        def modulated(shape: tuple[int, ...]) -> Params:
            affine = {
                "kernel": jax.random.normal(next(keys), (code_dim, shape[-2])),
                "bias": jnp.ones(shape[-2]),
            }
            return {
                "kernel": jax.random.normal(next(keys), shape),
                "bias": jnp.zeros(shape[-1]),
                "affine": affine,
            }

        convs = [
            modulated((3, 3, widths[layer // 2], widths[(layer + 1) // 2]))
            for layer in range(num_layers - 1)
        ]
        synthesis = {
            "constant": jax.random.normal(key_constant, (4, 4, widths[0])),
            "convs": [
                conv | {"noise_strength": jnp.zeros(())} if use_noise else conv for conv in convs
            ],
            "rgbs": [modulated((widths[level], img_channels)) for level in rgb_levels],
        }
        if architecture == "resnet":
            shapes = zip(widths[:-1], widths[1:], strict=True)
            synthesis["shortcuts"] = [
                {"kernel": jax.random.normal(next(keys), shape)} for shape in shapes
            ]
        sides = [side(layer) for layer in range(num_layers - 1)] if use_noise else []
        noises = [
            jax.random.normal(jax.random.fold_in(key_noise, layer), (size, size))
            for layer, size in enumerate(sides)
        ]
        sizes = {
            "z_dim": z_dim,
            "code_dim": code_dim,
            "label_dim": label_dim,
            "num_layers": mapping_layers,
        }
        features = {
            "features": mapping_features or code_dim,
            "embed_features": embed_features or code_dim,
        }
        return {
            "mapping": style_mapping.init(key_mapping, **sizes, **features, **mapping),
            "synthesis": synthesis,
            "buffers": {"noise": noises} if use_noise else {},
        }

    def map_(params: Params, z: jax.Array, label: jax.Array | None) -> jax.Array:
        w = style_mapping.apply(params["mapping"], z, distributions(label, label_dim), **mapping)
        return jnp.broadcast_to(w[:, None], (len(w), num_layers, code_dim))

    def noise_maps(
        params: Params, noise: Any, key: jax.Array | None, count: int
    ) -> list[jax.Array | None]:
        """Return the noise of each layer, [B or 1, H, W, 1], or None."""
        entries = [noise] * (num_layers - 1) if isinstance(noise, str) else list(noise)
        if len(entries) != num_layers - 1:
            raise ValueError(
                f"noise must be one of {', '.join(NOISES)}, or {num_layers - 1} such or arrays, "
                f"got {len(entries)}"
            )
        # the last layer is no convolution
        return [
            *(noise_map(params, entry, key, count, layer) for layer, entry in enumerate(entries)),
            None,
        ]

    def noise_map(
        params: Params, entry: Any, key: jax.Array | None, count: int, layer: int
    ) -> jax.Array | None:
        size = side(layer)
        if not isinstance(entry, str):
            if not use_noise or jnp.shape(entry) not in (
                (1, size, size, 1),
                (count, size, size, 1),
            ):
                taken = (
                    f"[{count} or 1, {size}, {size}, 1]"
                    if use_noise
                    else "none, the network has no noise"
                )
                raise ValueError(
                    f"noise of convolution {layer}: expected {taken}, "
                    f"got an array {list(jnp.shape(entry))}"
                )
            return entry
        if entry not in NOISES:
            raise ValueError(f"noise must be one of {', '.join(NOISES)}, got {entry!r}")
        if entry == "none" or not use_noise:
            return None
        if entry == "const":
            return params["buffers"]["noise"][layer][None, :, :, None]
        if key is None:
            raise ValueError("noise 'random' needs a key")
        return jax.random.normal(jax.random.fold_in(key, layer), (count, size, size, 1))

    def clamp(x: jax.Array, gain: float) -> jax.Array:
        return x if conv_clamp is None else jnp.clip(x, -conv_clamp * gain, conv_clamp * gain)

    def convolve(
        params: Params,
        x: jax.Array,
        code: jax.Array,
        layer: int,
        noise: jax.Array | None,
        gain: float = 1.0,
    ) -> jax.Array:
        p = params["synthesis"]["convs"][layer]
        y = modulated_conv2d(
            x, p["kernel"], dense(p["affine"], code), resample_filter if layer % 2 else None
        )
        if noise is not None:
            y = y + (noise * p["noise_strength"]).astype(y.dtype)
        return clamp(leaky_relu(y + p["bias"].astype(y.dtype)) * (math.sqrt(2) * gain), gain)

    def to_rgb(params: Params, x: jax.Array, code: jax.Array, level: int) -> jax.Array:
        p = params["synthesis"]["rgbs"][level - rgb_levels[0]]
        styles = dense(p["affine"], code) / math.sqrt(widths[level])
        kernels = (styles[:, :, None] * p["kernel"]).astype(x.dtype)
        return clamp(
            jnp.einsum("bhwc,bck->bhwk", x, kernels) + p["bias"].astype(x.dtype), 1.0
        ).astype(jnp.float32)

    def apply(
        params: Params, features: Features, code: jax.Array, layer: int, noise: jax.Array | None
    ) -> Features:
        x, rgb = features
        level = (layer + 1) // 2
        if layer == 0:
            return Features(convolve(params, x, code, layer, noise), rgb)
        if layer % 2 == 0:
            if architecture != "resnet":
                return Features(
                    convolve(params, x.astype(precision(level)), code, layer, noise), rgb
                )
            x, shortcut = (part.astype(precision(level)) for part in x)
            return Features(
                convolve(params, x, code, layer, noise, gain=math.sqrt(0.5)) + shortcut, rgb
            )
        if level - 1 in rgb_levels:
            own = to_rgb(params, x.astype(precision(level - 1)), code, level - 1)
            rgb = own if rgb is None else upsample2d(rgb, resample_filter) + own
        if layer == num_layers - 1:
            return Features(x, rgb)
        x = x.astype(precision(level))
        y = convolve(params, x, code, layer, noise)
        if architecture == "resnet":
            kernel = params["synthesis"]["shortcuts"][level - 1]["kernel"] * math.sqrt(
                0.5 / widths[level - 1]
            )
            y = (y, upsample2d(x @ kernel.astype(x.dtype), resample_filter))
        return Features(y, rgb)

    def start(params: Params, count: int) -> Features:
        constant = params["synthesis"]["constant"]
        return Features(jnp.broadcast_to(constant, (count, *constant.shape)), None)

    def style(params: Params, l: int) -> jax.Array:
        fed = [] if l == num_layers - 1 else [params["synthesis"]["convs"][l]]
        if l % 2 and (l - 1) // 2 in rgb_levels:
            fed.append(params["synthesis"]["rgbs"][(l - 1) // 2 - rgb_levels[0]])
        return jnp.concatenate([layer["affine"]["kernel"].T for layer in fed]) / math.sqrt(code_dim)

    return layered(
        family="stylegan2",
        num_layers=num_layers,
        code_dim=code_dim,
        resolution=resolution,
        channels=img_channels,
        label_dim=label_dim,
        init=init,
        sample=standard_normal(z_dim),
        map=map_,
        mean=lambda params: params["mapping"]["mean"],
        start=start,
        apply=apply,
        finish=lambda params, features: features.rgb,
        style=style,
        noise_maps=noise_maps,
    )
