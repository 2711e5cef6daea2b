"""Adv: adversarial training on pixel perturbations in the l-infinity ball.

Madry et al. 2018; NaTra section 4.1, "Adv".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from natra_jax import attacks
from natra_jax.attacks import Attack, Space
from natra_jax.losses import soft_cross_entropy
from natra_jax.methods.original import CLASSIFIER_STEP
from natra_jax.methods.spec import Latent, MethodSpec
from natra_jax.types import Batch, Keys, LogitsFn, Method, Variation


def adv(*, num_classes: int, epsilon: float, step_size: float, num_steps: int) -> Method:
    """Build Adv.

    epsilon and step_size are in units of the images' range [-1, 1]: twice the customary ones for
    [0, 1].
    """
    search = attacks.pgd(num_steps, step_size, random_start=True)
    vary = Partial(_vary(search, num_classes), attacks.linf(), jnp.asarray(epsilon))
    return Method(vary, passes=3 * num_steps + 1 + 2 * CLASSIFIER_STEP, loss=soft_cross_entropy)


@cache
def _vary(search: Attack, num_classes: int) -> Callable[..., Variation]:
    def vary(
        space: Space,
        radius: Float[Array, ""],
        logits_fn: LogitsFn,
        keys: Keys,
        batch: Batch,
        epsilon: Float[Array, " B"],
    ) -> Variation:
        labels = batch["label"]
        loss_fn = attacks.objective(logits_fn, labels)
        radii = jnp.broadcast_to(radius, labels.shape)
        result = search(loss_fn, keys, space, batch["image"], radii)
        targets = jax.nn.one_hot(labels, num_classes)
        return Variation(result.inputs, targets, epsilon, result.success)

    return vary


def _adv(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    return adv(num_classes=num_classes, **config.adv.to_dict())


ADV = MethodSpec(_adv, fields=("adv",))
