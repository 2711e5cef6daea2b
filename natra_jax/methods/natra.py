"""NaTra: adversarial training on natural variation along directions of a generator's code space; its ablations and its random twins.

natra       the worst variation inside a radius that adapts to each example, with adaptive label smoothing (eq. 13 and 14)
natra_oa    the same with a fixed radius and hard labels ("NaTra without Adaptive Perturbation Tuning")
natra_ol    natra with a single code an image, the same for all layers ("NaTra without Latent Codes Expansion")
random      a random draw, but no search: from natra's own largest set (the same directions, radius cap and truncation), or N(0, 1) on
            all of the codes (NaTra section 4.1, "Random")
random_long random, trained for as many network passes as natra
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from ml_collections import ConfigDict

from natra_jax import attacks
from natra_jax.attacks import Attack, Space
from natra_jax.losses import mixed, soft_cross_entropy
from natra_jax.methods.original import CLASSIFIER_STEP
from natra_jax.methods.spec import Latent, MethodSpec
from natra_jax.types import Bound, Generator, Loss, Method, Params, Variation

LOSSES = ("ce", "mixed")
SEARCHES = ("joint", "per_direction")
RANDOM_KINDS = ("box", "normal_w")


def natra(
    space: Space,
    search: Attack,
    *,
    num_classes: int,
    rho: float,
    epsilon_max: float,
    smoothing: float,
    loss: Loss = soft_cross_entropy,
    passes: int,
) -> Method:
    """The full method. rho, epsilon_max: in the units of the Space's delta. smoothing: c of label smoothing, a = min(1, c epsilon).

    passes: the search's network passes, for methods of equal cost.
    """
    vary = Partial(
        partial(_adaptive, search, loss, num_classes, rho, epsilon_max, smoothing), space
    )
    return Method(vary, passes=passes + 2 * CLASSIFIER_STEP, loss=loss)


def natra_oa(
    space: Space,
    search: Attack,
    *,
    num_classes: int,
    epsilon: float,
    loss: Loss = soft_cross_entropy,
    passes: int,
) -> Method:
    """Without adaptive tuning: one fixed radius for all and one-hot targets."""
    vary = Partial(partial(_fixed, search, loss, num_classes, epsilon), space)
    return Method(vary, passes=passes + 2 * CLASSIFIER_STEP, loss=loss)


def random(space: Space, *, num_classes: int, epsilon: float) -> Method:
    """A uniform draw from the Space at radius epsilon (the Space's `init`), one-hot targets."""
    return Method(
        Partial(partial(_random, num_classes, epsilon), space),
        passes=1 + 2 * CLASSIFIER_STEP,
        loss=soft_cross_entropy,
    )


def random_normal(generator: Generator, params: Params, *, num_classes: int) -> Method:
    """N(0, 1) added to every coordinate of the codes, but those of the class; one-hot targets: "Random" as the paper words it."""
    vary = Partial(partial(_random_normal, generator, num_classes), params)
    return Method(vary, passes=1 + 2 * CLASSIFIER_STEP, loss=soft_cross_entropy)


def _soft_objective(logits_fn, loss: Loss, targets, labels):
    return attacks.objective(
        logits_fn, labels, loss=lambda logits, labels: loss(logits, targets, labels)
    )


def _adaptive(
    search, loss, num_classes, rho, epsilon_max, smoothing, space, logits_fn, keys, batch, epsilon
):
    keys_search, keys_labels = jax.vmap(jax.random.split, out_axes=1)(keys)
    labels = batch["label"]
    targets = attacks.soft_labels(keys_labels, labels, epsilon, smoothing, num_classes)
    radius = attacks.trial_radius(epsilon, rho, epsilon_max)
    result = search(
        _soft_objective(logits_fn, loss, targets, labels),
        keys_search,
        space,
        batch["codes"],
        radius,
    )
    epsilon = attacks.updated_radius(epsilon, result.success, rho, epsilon_max)
    targets = attacks.soft_labels(keys_labels, labels, epsilon, smoothing, num_classes)
    return Variation(result.inputs, targets, epsilon, result.success, {"epsilon": epsilon})


def _fixed(search, loss, num_classes, radius, space, logits_fn, keys, batch, epsilon):
    labels = batch["label"]
    targets = jax.nn.one_hot(labels, num_classes)
    result = search(
        _soft_objective(logits_fn, loss, targets, labels),
        keys,
        space,
        batch["codes"],
        jnp.full_like(epsilon, radius),
    )
    return Variation(result.inputs, targets, epsilon, result.success)


def _random(num_classes, radius, space, logits_fn, keys, batch, epsilon):
    center = space.anchor(keys, batch["codes"])
    inputs = space.decode(center, space.init(keys, center, jnp.full_like(epsilon, radius)))
    return _drawn(inputs, num_classes, logits_fn, batch, epsilon)


def _random_normal(generator, num_classes, params, logits_fn, keys, batch, epsilon):
    codes = batch["codes"]
    noise = jax.vmap(lambda key: jax.random.normal(key, codes.shape[1:], codes.dtype))(keys)
    noise = noise.at[..., jnp.asarray(generator.class_entries, int)].set(0)
    return _drawn(
        generator.synthesize(params, codes + noise), num_classes, logits_fn, batch, epsilon
    )


def _drawn(inputs, num_classes, logits_fn, batch, epsilon):
    failed = attacks.misclassified(logits_fn(inputs), batch["label"])
    return Variation(inputs, jax.nn.one_hot(batch["label"], num_classes), epsilon, failed)


# From an experiment's config


def space(config: ConfigDict, latent: Latent) -> Space:
    """The space of natural variation that natra trains on and latent_accuracy attacks in."""
    c = config.natra
    return attacks.directions(
        latent.generator,
        latent.params,
        latent.directions,
        truncation=c.truncation,
        norm=c.norm,
        units=c.units,
    )


def _search(config: ConfigDict, latent: Latent) -> tuple[Attack, int]:
    """natra's search, and its network passes."""
    c = config.natra
    search = attacks.pgd(
        c.num_steps, rule="l2" if c.norm == "l2" else "sign", random_start=c.random_start
    )
    passes = c.restarts * (3 * c.num_steps + 1)
    if c.search == "per_direction":
        search, passes = attacks.per_direction(search), passes * len(latent.directions.sigma)
    return attacks.best_of(search, c.restarts), passes


def _loss(config: ConfigDict) -> Loss:
    return Bound(mixed, config.natra.kappa) if config.natra.loss == "mixed" else soft_cross_entropy


def _natra(config: ConfigDict, num_classes: int, latent: Latent) -> Method:
    c = config.natra
    search, passes = _search(config, latent)
    radius = {"rho": c.rho, "epsilon_max": c.epsilon_max, "smoothing": c.smoothing}
    return natra(
        space(config, latent),
        search,
        num_classes=num_classes,
        **radius,
        loss=_loss(config),
        passes=passes,
    )


def _natra_oa(config: ConfigDict, num_classes: int, latent: Latent) -> Method:
    search, passes = _search(config, latent)
    epsilon = config.natra_oa.epsilon
    return natra_oa(
        space(config, latent),
        search,
        num_classes=num_classes,
        epsilon=epsilon,
        loss=_loss(config),
        passes=passes,
    )


def _random_from(config: ConfigDict, num_classes: int, latent: Latent) -> Method:
    if config.random.kind == "normal_w":
        return random_normal(latent.generator, latent.params, num_classes=num_classes)
    return random(space(config, latent), num_classes=num_classes, epsilon=config.natra.epsilon_max)


NATRA = MethodSpec(_natra, fields=("natra",), latent="directions")
NATRA_OL = NATRA._replace(single_code=True)
NATRA_OA = MethodSpec(_natra_oa, fields=("natra", "natra_oa"), latent="directions")
RANDOM = MethodSpec(_random_from, fields=("natra", "random"), latent="directions")
RANDOM_LONG = RANDOM._replace(match_passes_of="natra")
