"""AdvBN: fine-tuning on the worst statistics of the classifier's own features (Shu et al. 2021, "Encoding Robustness to Image Style via
Adversarial Feature Perturbations"). Alone, or on top of a method that acts on images.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from jax.tree_util import Partial
from ml_collections import ConfigDict

from natra_jax import attacks
from natra_jax.attacks import Attack
from natra_jax.losses import cross_entropy, soft_cross_entropy
from natra_jax.methods.original import CLASSIFIER_STEP
from natra_jax.methods.spec import Latent, MethodSpec
from natra_jax.types import Method


def advbn(*, group_size: int, num_steps: int, step_size: float, epsilon: float) -> Method:
    """m and s of each channel, shared by group_size examples, start at 1 and take num_steps steps of step_size within 1 ± epsilon."""
    search = attacks.pgd(num_steps, step_size)
    perturb = Partial(partial(_perturb, search, group_size, epsilon))
    passes = 1 + 3 * num_steps + 1 + 2 * CLASSIFIER_STEP  # the head's counted as the network's
    return Method(vary=None, passes=passes, loss=soft_cross_entropy, perturb=perturb)


def both(images: Method, features: Method) -> Method:
    """images makes the variations, and features perturbs the features of these."""
    return Method(
        images.vary, images.passes + features.passes, images.loss, features.perturb, images.partners
    )


def _perturb(
    search: Attack, group_size: int, radius: float, head_fn, keys, features, targets, relu: bool
):
    space = attacks.feature_stats(group_size, relu=relu)
    loss_fn = attacks.objective(
        head_fn, targets.argmax(-1), loss=lambda logits, _: cross_entropy(logits, targets)
    )
    result = search(loss_fn, keys, space, features, jnp.full(len(keys), radius, targets.dtype))
    return result.inputs, result.success


def _advbn(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    c = config.advbn
    return advbn(
        group_size=c.group_size, num_steps=c.num_steps, step_size=c.step_size, epsilon=c.epsilon
    )


ADVBN = MethodSpec(_advbn, fields=("advbn",), fine_tunes="original", perturbs=True)
