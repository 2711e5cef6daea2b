"""Augment: conventional data augmentation (crop, flip, colour jitter, cutout), each example with a draw of its own."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from natra_jax import attacks
from natra_jax.losses import soft_cross_entropy
from natra_jax.methods.original import CLASSIFIER_STEP
from natra_jax.methods.spec import MethodSpec
from natra_jax.types import Method, Variation

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


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
    """crop: pixels of reflected border that the image is cut from. flip: left to right, with probability 1/2. brightness, contrast,
    saturation: factors uniform in 1 ± each. hue: turns, uniform in ± hue. cutout: side of a grey square, pixels. 0 leaves each out.
    """
    one = partial(_augmented, crop, flip, brightness, contrast, saturation, hue, cutout)
    return Method(
        Partial(partial(_vary, one, num_classes)),
        passes=1 + 2 * CLASSIFIER_STEP,
        loss=soft_cross_entropy,
    )


def _vary(one, num_classes, logits_fn, keys, batch, epsilon):
    inputs = jax.vmap(one)(keys, batch["image"])
    failed = attacks.misclassified(logits_fn(inputs), batch["label"])
    return Variation(inputs, jax.nn.one_hot(batch["label"], num_classes), epsilon, failed)


def _augmented(crop, flip, brightness, contrast, saturation, hue, cutout, key, image):
    """One image [H, W, C] in [-1, 1]."""
    keys = jax.random.split(key, 7)
    if crop:
        padded = jnp.pad(image, ((crop, crop), (crop, crop), (0, 0)), mode="reflect")
        corner = jax.random.randint(keys[0], (2,), 0, 2 * crop + 1)
        image = jax.lax.dynamic_slice(padded, (corner[0], corner[1], 0), image.shape)
    if flip:
        image = jnp.where(jax.random.bernoulli(keys[1]), image[:, ::-1], image)
    image = _jittered(keys[2:6], image, brightness, contrast, saturation, hue)
    if cutout:
        middle = jax.random.randint(keys[6], (2,), 0, jnp.array(image.shape[:2]))
        rows, columns = (jnp.arange(size) - m for size, m in zip(image.shape, middle, strict=False))
        half = cutout // 2
        inside = [(offset >= -half) & (offset < cutout - half) for offset in (rows, columns)]
        image = jnp.where((inside[0][:, None] & inside[1][None, :])[..., None], 0.0, image)
    return image


def _jittered(keys, image, brightness, contrast, saturation, hue):
    def factor(key, spread):
        return jax.random.uniform(key, (), image.dtype, 1 - spread, 1 + spread)

    luma = jnp.asarray(_LUMA, image.dtype)
    light = (image + 1) / 2 * factor(keys[0], brightness)
    grey = (light @ luma).mean() if image.shape[-1] == 3 else light.mean()
    light = grey + factor(keys[1], contrast) * (light - grey)
    if image.shape[-1] == 3:
        own_grey = (light @ luma)[..., None]
        light = own_grey + factor(keys[2], saturation) * (light - own_grey)
        light = light @ _hue_rotation(jax.random.uniform(keys[3], (), image.dtype, -hue, hue))
    return jnp.clip(light, 0, 1) * 2 - 1


def _hue_rotation(turns: jax.Array) -> jax.Array:
    """RGB -> RGB [3, 3]: the chroma plane of YIQ turned, the luma as it is."""
    to_yiq = jnp.array([[*_LUMA], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], turns.dtype)
    cos, sin = jnp.cos(2 * jnp.pi * turns), jnp.sin(2 * jnp.pi * turns)
    turn = (
        jnp.zeros((3, 3), turns.dtype)
        .at[0, 0]
        .set(1)
        .at[1:, 1:]
        .set(jnp.array([[cos, -sin], [sin, cos]]))
    )
    return (jnp.linalg.inv(to_yiq) @ turn @ to_yiq).T


AUGMENT = MethodSpec(
    lambda config, num_classes, latent: augment(
        num_classes=num_classes, **config.augment.to_dict()
    ),
    fields=("augment",),
)
