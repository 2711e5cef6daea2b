"""Augment: conventional data augmentation, each example with a draw of its own.

Crop, flip, colour jitter and cutout.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from natra_jax import attacks
from natra_jax.losses import soft_cross_entropy
from natra_jax.methods.original import CLASSIFIER_STEP
from natra_jax.methods.spec import Latent, MethodSpec
from natra_jax.types import Batch, Keys, LogitsFn, Method, Variation

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class _Settings(NamedTuple):
    """The strength of each augmentation. 0 leaves it out."""

    crop: int
    flip: bool
    brightness: float
    contrast: float
    saturation: float
    hue: float
    cutout: int


def augment(
    *,
    num_classes: int,
    crop: int,
    flip: bool,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    cutout: int,
) -> Method:
    """Build Augment. 0 leaves an augmentation out.

    Args:
        num_classes: C.
        crop: pixels of reflected border that the image is cut from.
        flip: whether to flip left to right, with probability 1/2.
        brightness: the factor is uniform in 1 ± brightness.
        contrast: the factor is uniform in 1 ± contrast.
        saturation: the factor is uniform in 1 ± saturation.
        hue: the rotation is uniform in ± hue, in turns.
        cutout: side of a grey square, pixels.

    Returns:
        The method.
    """
    settings = _Settings(crop, flip, brightness, contrast, saturation, hue, cutout)
    vary = Partial(_vary(num_classes, settings))
    return Method(vary, passes=1 + 2 * CLASSIFIER_STEP, loss=soft_cross_entropy)


@cache
def _vary(num_classes: int, settings: _Settings) -> Callable[..., Variation]:
    def vary(
        logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"]
    ) -> Variation:
        inputs = jax.vmap(lambda key, image: _augmented(settings, key, image))(keys, batch["image"])
        failed = attacks.misclassified(logits_fn(inputs), batch["label"])
        return Variation(inputs, jax.nn.one_hot(batch["label"], num_classes), epsilon, failed)

    return vary


def _augmented(
    settings: _Settings, key: Array, image: Float[Array, "H W C"]
) -> Float[Array, "H W C"]:
    """Augment one image in [-1, 1]."""
    keys = jax.random.split(key, 7)
    crop, cutout = settings.crop, settings.cutout
    if crop:
        padded = jnp.pad(image, ((crop, crop), (crop, crop), (0, 0)), mode="reflect")
        corner = jax.random.randint(keys[0], (2,), 0, 2 * crop + 1)
        image = jax.lax.dynamic_slice(padded, (corner[0], corner[1], 0), image.shape)
    if settings.flip:
        image = jnp.where(jax.random.bernoulli(keys[1]), image[:, ::-1], image)
    image = _jittered(settings, keys[2:6], image)
    if cutout:
        middle = jax.random.randint(keys[6], (2,), 0, jnp.array(image.shape[:2]))
        rows, columns = (jnp.arange(size) - m for size, m in zip(image.shape, middle, strict=False))
        half = cutout // 2
        inside = [(offset >= -half) & (offset < cutout - half) for offset in (rows, columns)]
        image = jnp.where((inside[0][:, None] & inside[1][None, :])[..., None], 0.0, image)
    return image


def _jittered(
    settings: _Settings, keys: Array, image: Float[Array, "H W C"]
) -> Float[Array, "H W C"]:
    """Change brightness and contrast, and in colour images saturation and hue."""

    def factor(key: Array, spread: float) -> Float[Array, ""]:
        return jax.random.uniform(key, (), image.dtype, 1 - spread, 1 + spread)

    luma = jnp.asarray(_LUMA, image.dtype)
    light = (image + 1) / 2 * factor(keys[0], settings.brightness)
    grey = (light @ luma).mean() if image.shape[-1] == 3 else light.mean()
    light = grey + factor(keys[1], settings.contrast) * (light - grey)
    if image.shape[-1] == 3:
        own_grey = (light @ luma)[..., None]
        light = own_grey + factor(keys[2], settings.saturation) * (light - own_grey)
        hue = settings.hue
        light = light @ _hue_rotation(jax.random.uniform(keys[3], (), image.dtype, -hue, hue))
    return jnp.clip(light, 0, 1) * 2 - 1


def _hue_rotation(turns: Float[Array, ""]) -> Float[Array, "3 3"]:
    """Return the matrix RGB -> RGB that turns the chroma plane of YIQ and keeps the luma."""
    to_yiq = jnp.array([[*_LUMA], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], turns.dtype)
    cos, sin = jnp.cos(2 * jnp.pi * turns), jnp.sin(2 * jnp.pi * turns)
    chroma = jnp.array([[cos, -sin], [sin, cos]])
    turn = jnp.zeros((3, 3), turns.dtype).at[0, 0].set(1).at[1:, 1:].set(chroma)
    return (jnp.linalg.inv(to_yiq) @ turn @ to_yiq).T


def _augment(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    return augment(num_classes=num_classes, **config.augment.to_dict())


AUGMENT = MethodSpec(_augment, fields=("augment",))
