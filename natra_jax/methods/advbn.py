"""AdvBN: fine-tuning on the worst statistics of the classifier's own features.

Shu et al. 2021, "Encoding Robustness to Image Style via Adversarial Feature Perturbations". Alone,
or on top of a method that acts on images.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float
from ml_collections import ConfigDict

from natra_jax import attacks
from natra_jax.attacks import Attack, Space
from natra_jax.losses import cross_entropy, soft_cross_entropy
from natra_jax.methods.original import CLASSIFIER_STEP
from natra_jax.methods.spec import Latent, MethodSpec
from natra_jax.types import Keys, LogitsFn, Method, Perturb


def advbn(*, group_size: int, num_steps: int, step_size: float, epsilon: float) -> Method:
    """Build AdvBN.

    Args:
        group_size: the number of examples that share m and s of each channel.
        num_steps: the number of steps from m = s = 1.
        step_size: of each step.
        epsilon: m and s stay within 1 ± epsilon.

    Returns:
        A method that perturbs features and makes no images.
    """
    search = attacks.pgd(num_steps, step_size)
    passes = 1 + 3 * num_steps + 1 + 2 * CLASSIFIER_STEP  # the head's counted as the network's
    perturb = Partial(_perturb(search, group_size, epsilon))
    return Method(vary=None, passes=passes, loss=soft_cross_entropy, perturb=perturb)


def both(images: Method, features: Method) -> Method:
    """Combine a method that varies images with one that perturbs the features of these."""
    passes = images.passes + features.passes
    return replace(images, passes=passes, perturb=features.perturb)


def worst_features(
    search: Attack,
    space: Space,
    head_fn: LogitsFn,
    keys: Keys,
    features: Float[Array, "B *space C"],
    targets: Float[Array, "B classes"],
    epsilon: Float[Array, ""] | float,
) -> tuple[Float[Array, "B *space C"], Bool[Array, " B"]]:
    """Search for the statistics of features that the head of a classifier is worst on (AdvBN).

    Args:
        search: the attack.
        space: `attacks.feature_stats`.
        head_fn: features -> logits.
        keys: [B], of its random draws.
        features: at the AdvBN layer.
        targets: distributions over the classes.
        epsilon: m and s stay within 1 ± epsilon.

    Returns:
        (perturbed features, whether the head is wrong on them).
    """
    loss_fn = attacks.objective(
        head_fn, targets.argmax(-1), loss=lambda logits, _: cross_entropy(logits, targets)
    )
    radii = jnp.full(len(keys), epsilon, targets.dtype)
    result = search(loss_fn, keys, space, features, radii)
    return result.inputs, result.success


@cache
def _perturb(search: Attack, group_size: int, radius: float) -> Perturb:
    def perturb(
        head_fn: LogitsFn,
        keys: Keys,
        features: Float[Array, "B *space C"],
        targets: Float[Array, "B classes"],
        relu: bool,
    ) -> tuple[Float[Array, "B *space C"], Bool[Array, " B"]]:
        space = attacks.feature_stats(group_size, relu=relu)
        return worst_features(search, space, head_fn, keys, features, targets, radius)

    return perturb


def _advbn(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    c = config.advbn
    return advbn(
        group_size=c.group_size, num_steps=c.num_steps, step_size=c.step_size, epsilon=c.epsilon
    )


ADVBN = MethodSpec(
    _advbn,
    fields=("advbn.group_size", "advbn.num_steps", "advbn.step_size", "advbn.epsilon"),
    fine_tunes="original",
    perturbs=True,
)
