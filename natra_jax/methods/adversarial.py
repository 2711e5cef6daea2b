"""Adv: adversarial training on pixel perturbations in the l-infinity ball (Madry et al. 2018; NaTra section 4.1, "Adv")."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from natra_jax import attacks
from natra_jax.attacks import Attack
from natra_jax.methods.plain import CLASSIFIER_STEP
from natra_jax.types import Method, Variation


def adv(*, num_classes: int, epsilon: float, step_size: float, num_steps: int) -> Method:
    """epsilon and step_size in units of the images' range [-1, 1]: twice the customary ones for [0, 1]."""
    attack = attacks.pgd(num_steps, step_size, random_start=True)
    vary = Partial(partial(_vary, attack, num_classes), attacks.linf(), jnp.asarray(epsilon))
    return Method(vary, passes=3 * num_steps + 1 + 2 * CLASSIFIER_STEP)


def _vary(attack: Attack, num_classes: int, space, epsilon, logits_fn, keys, batch, stored_epsilon):
    def loss_fn(inputs):
        logits = logits_fn(inputs)
        return attacks.cross_entropy(logits, batch["label"]), attacks.misclassified(logits, batch["label"])

    result = attack(loss_fn, keys, space, batch["image"], jnp.broadcast_to(epsilon, batch["label"].shape))
    targets = jax.nn.one_hot(batch["label"], num_classes)
    return Variation(result.inputs, targets, stored_epsilon, {"attack_success": result.success})
