"""NaTra: adversarial training on natural variation along directions of a generator's code space; its ablation and its random twins.

natra       the worst variation inside a radius that adapts to each example, with adaptive label smoothing (eq. 13 and 14)
natra_oa    the same with a fixed radius and hard labels ("NaTra without Adaptive Perturbation Tuning")
random      a uniform draw from natra's own largest set: the same directions, radius cap and truncation, but no search
random_long random, trained for as many network passes as natra
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from natra_jax import attacks
from natra_jax.attacks import Attack, Space
from natra_jax.methods.plain import CLASSIFIER_STEP
from natra_jax.types import Method, Variation


def natra(
    space: Space, *, num_classes: int, num_steps: int, restarts: int, random_start: bool, rho: float, epsilon_max: float, smoothing: float
) -> Method:
    """The full method. rho, epsilon_max: in the units of the Space's delta. smoothing: c of label smoothing, a = min(1, c epsilon)."""
    search = _search(num_steps, restarts, random_start)
    vary = Partial(partial(_adaptive, search, num_classes, rho, epsilon_max, smoothing), space)
    return Method(vary, passes=_passes(num_steps, restarts))


def natra_oa(space: Space, *, num_classes: int, num_steps: int, restarts: int, random_start: bool, epsilon: float) -> Method:
    """Without adaptive tuning: one fixed radius for all and one-hot targets."""
    search = _search(num_steps, restarts, random_start)
    vary = Partial(partial(_fixed, search, num_classes, epsilon), space)
    return Method(vary, passes=_passes(num_steps, restarts))


def random(space: Space, *, num_classes: int, epsilon: float) -> Method:
    """A uniform draw from the Space at radius epsilon (the Space's `init`), one-hot targets."""
    return Method(Partial(partial(_random, num_classes, epsilon), space), passes=1 + 2 * CLASSIFIER_STEP)


def _search(num_steps: int, restarts: int, random_start: bool) -> Attack:
    return attacks.best_of(attacks.pgd(num_steps, random_start=random_start), restarts)


def _passes(num_steps: int, restarts: int) -> int:
    return restarts * (3 * num_steps + 1) + 2 * CLASSIFIER_STEP


def _loss(logits_fn, targets, labels):
    def loss_fn(inputs):
        logits = logits_fn(inputs)
        return attacks.cross_entropy(logits, targets), attacks.misclassified(logits, labels)

    return loss_fn


def _adaptive(search, num_classes, rho, epsilon_max, smoothing, space, logits_fn, keys, batch, epsilon):
    keys_search, keys_labels = jax.vmap(jax.random.split, out_axes=1)(keys)
    labels = batch["label"]
    targets = attacks.soft_labels(keys_labels, labels, epsilon, smoothing, num_classes)
    radius = attacks.trial_radius(epsilon, rho, epsilon_max)
    result = search(_loss(logits_fn, targets, labels), keys_search, space, batch["codes"], radius)
    epsilon = attacks.updated_radius(epsilon, result.success, rho, epsilon_max)
    targets = attacks.soft_labels(keys_labels, labels, epsilon, smoothing, num_classes)
    return Variation(result.inputs, targets, epsilon, {"epsilon": epsilon, "attack_success": result.success})


def _fixed(search, num_classes, radius, space, logits_fn, keys, batch, epsilon):
    targets = jax.nn.one_hot(batch["label"], num_classes)
    result = search(_loss(logits_fn, targets, batch["label"]), keys, space, batch["codes"], jnp.full_like(epsilon, radius))
    return Variation(result.inputs, targets, epsilon, {"attack_success": result.success})


def _random(num_classes, radius, space, logits_fn, keys, batch, epsilon):
    center = space.anchor(keys, batch["codes"])
    inputs = space.decode(center, space.init(keys, center, jnp.full_like(epsilon, radius)))
    failed = attacks.misclassified(logits_fn(inputs), batch["label"])
    return Variation(inputs, jax.nn.one_hot(batch["label"], num_classes), epsilon, {"attack_success": failed})
