"""Adv: adversarial training on pixel perturbations in the l-infinity ball (Madry et al. 2018; NaTra section 4.1, "Adv")."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from natra_jax import attacks
from natra_jax.attacks import Attack
from natra_jax.losses import soft_cross_entropy
from natra_jax.methods.original import CLASSIFIER_STEP
from natra_jax.methods.spec import MethodSpec
from natra_jax.types import Method, Variation


def adv(*, num_classes: int, epsilon: float, step_size: float, num_steps: int) -> Method:
    """epsilon and step_size in units of the images' range [-1, 1]: twice the customary ones for [0, 1]."""
    attack = attacks.pgd(num_steps, step_size, random_start=True)
    vary = Partial(partial(_vary, attack, num_classes), attacks.linf(), jnp.asarray(epsilon))
    return Method(vary, passes=3 * num_steps + 1 + 2 * CLASSIFIER_STEP, loss=soft_cross_entropy)


def _vary(attack: Attack, num_classes: int, space, epsilon, logits_fn, keys, batch, stored_epsilon):
    labels = batch["label"]
    result = attack(
        attacks.objective(logits_fn, labels),
        keys,
        space,
        batch["image"],
        jnp.broadcast_to(epsilon, labels.shape),
    )
    return Variation(
        result.inputs, jax.nn.one_hot(labels, num_classes), stored_epsilon, result.success
    )


ADV = MethodSpec(
    lambda config, num_classes, latent: adv(num_classes=num_classes, **config.adv.to_dict()),
    fields=("adv",),
)
