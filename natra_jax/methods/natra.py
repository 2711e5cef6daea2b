"""NaTra, its ablations and its random counterparts: natural variation in a generator's code space.

natra       the worst variation inside a radius that adapts to each example, with adaptive label
            smoothing (NaTra eq. 13 and 14)
natra_oa    the same with a fixed radius and hard labels ("NaTra without Adaptive Perturbation
            Tuning")
natra_ol    natra with a single code an image, the same for all layers ("NaTra without Latent Codes
            Expansion")
random      a random draw, but no search: from natra's own largest set (the same directions, radius
            cap and truncation), or N(0, 1) on all of the codes (NaTra section 4.1, "Random")
random_long random, trained for as many network passes as natra
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Integer
from ml_collections import ConfigDict

from natra_jax import attacks
from natra_jax.attacks import Attack, LossFn, Space
from natra_jax.losses import mixed, soft_cross_entropy
from natra_jax.methods.original import CLASSIFIER_STEP
from natra_jax.methods.spec import Latent, MethodSpec, required
from natra_jax.types import Batch, Generator, Keys, LogitsFn, Loss, Method, Params, Variation

LOSSES = ("ce", "mixed")
SEARCHES = ("joint", "per_direction")
RANDOM_KINDS = ("box", "normal_w")


class _Tuning(NamedTuple):
    """The constants of Adaptive Perturbation Tuning (NaTra section 3.4.3)."""

    rho: float
    epsilon_max: float
    smoothing: float


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
    """Build the full method: adaptive radii and adaptive label smoothing (NaTra eq. 13 and 14).

    Args:
        space: the set of natural variation.
        search: the inner maximisation.
        num_classes: C.
        rho: the growth of a radius where the classifier holds, in the units of the Space's delta.
        epsilon_max: the largest radius, in the same units.
        smoothing: c of label smoothing, a = min(1, c epsilon).
        loss: of the varied images, in the search and in training.
        passes: the search's network passes, for methods of equal cost.

    Returns:
        The method.
    """
    tuning = _Tuning(rho, epsilon_max, smoothing)
    vary = Partial(_adaptive(search, loss, num_classes, tuning), space)
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
    """Build NaTra-OA, without adaptive tuning: one fixed radius for all and one-hot targets.

    Args:
        space: the set of natural variation.
        search: the inner maximisation.
        num_classes: C.
        epsilon: the radius, in the units of the Space's delta.
        loss: of the varied images, in the search and in training.
        passes: the search's network passes.

    Returns:
        The method.
    """
    vary = Partial(_fixed(search, loss, num_classes, epsilon), space)
    return Method(vary, passes=passes + 2 * CLASSIFIER_STEP, loss=loss)


def random(space: Space, *, num_classes: int, epsilon: float) -> Method:
    """Build Random: a uniform draw from the Space (its `init`) at radius epsilon, hard labels."""
    vary = Partial(_random(num_classes, epsilon), space)
    return Method(vary, passes=1 + 2 * CLASSIFIER_STEP, loss=soft_cross_entropy)


def random_normal(generator: Generator, params: Params, *, num_classes: int) -> Method:
    """Build Random as NaTra words it: N(0, 1) added to the codes, one-hot targets.

    Every coordinate of the codes is moved, but those of the class.
    """
    vary = Partial(_random_normal(generator, num_classes), params)
    return Method(vary, passes=1 + 2 * CLASSIFIER_STEP, loss=soft_cross_entropy)


@cache
def _adaptive(
    search: Attack, loss: Loss, num_classes: int, tuning: _Tuning
) -> Callable[..., Variation]:
    rho, epsilon_max, smoothing = tuning

    def vary(
        space: Space, logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"]
    ) -> Variation:
        keys_search, keys_labels = jax.vmap(jax.random.split, out_axes=1)(keys)
        labels = batch["label"]
        targets = attacks.soft_labels(keys_labels, labels, epsilon, smoothing, num_classes)
        radius = attacks.trial_radius(epsilon, rho, epsilon_max)
        loss_fn = _objective(logits_fn, loss, targets, labels)
        result = search(loss_fn, keys_search, space, batch["codes"], radius)
        epsilon = attacks.updated_radius(epsilon, result.success, rho, epsilon_max)  # NaTra eq. 13
        targets = attacks.soft_labels(keys_labels, labels, epsilon, smoothing, num_classes)
        return Variation(result.inputs, targets, epsilon, result.success, {"epsilon": epsilon})

    return vary


@cache
def _fixed(search: Attack, loss: Loss, num_classes: int, radius: float) -> Callable[..., Variation]:
    def vary(
        space: Space, logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"]
    ) -> Variation:
        labels = batch["label"]
        targets = jax.nn.one_hot(labels, num_classes)
        loss_fn = _objective(logits_fn, loss, targets, labels)
        result = search(loss_fn, keys, space, batch["codes"], jnp.full_like(epsilon, radius))
        return Variation(result.inputs, targets, epsilon, result.success)

    return vary


def _objective(
    logits_fn: LogitsFn, loss: Loss, targets: Float[Array, "B C"], labels: Integer[Array, " B"]
) -> LossFn:
    return attacks.objective(
        logits_fn, labels, loss=lambda logits, labels: loss(logits, targets, labels)
    )


@cache
def _random(num_classes: int, radius: float) -> Callable[..., Variation]:
    def vary(
        space: Space, logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"]
    ) -> Variation:
        center = space.anchor(keys, batch["codes"])
        delta = space.init(keys, center, jnp.full_like(epsilon, radius))
        inputs = space.decode(center, delta)
        return _hard_labelled(inputs, num_classes, logits_fn, batch, epsilon)

    return vary


@cache
def _random_normal(generator: Generator, num_classes: int) -> Callable[..., Variation]:
    def vary(
        params: Params, logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"]
    ) -> Variation:
        codes = batch["codes"]
        noise = jax.vmap(lambda key: jax.random.normal(key, codes.shape[1:], codes.dtype))(keys)
        noise = noise.at[..., jnp.asarray(generator.class_entries, int)].set(0)
        inputs = generator.synthesize(params, codes + noise)
        return _hard_labelled(inputs, num_classes, logits_fn, batch, epsilon)

    return vary


def _hard_labelled(
    inputs: Float[Array, "B H W C"],
    num_classes: int,
    logits_fn: LogitsFn,
    batch: Batch,
    epsilon: Float[Array, " B"],
) -> Variation:
    failed = attacks.misclassified(logits_fn(inputs), batch["label"])
    return Variation(inputs, jax.nn.one_hot(batch["label"], num_classes), epsilon, failed)


# From an experiment's config

SPACE_FIELDS = ("natra.truncation", "natra.norm", "natra.units")  # that `space` reads


def space(config: ConfigDict, latent: Latent) -> Space:
    """Build the space of natural variation that natra trains on and latent_accuracy attacks in."""
    c = config.natra
    return attacks.directions(
        latent.generator,
        latent.params,
        latent.required_directions(),
        truncation=c.truncation,
        norm=c.norm,
        units=c.units,
    )


def _search(config: ConfigDict, latent: Latent) -> tuple[Attack, int]:
    """Return natra's search and its network passes."""
    c = config.natra
    rule = "l2" if c.norm == "l2" else "sign"
    search = attacks.pgd(c.num_steps, rule=rule, random_start=c.random_start)
    passes = c.restarts * (3 * c.num_steps + 1)
    if c.search == "per_direction":
        search = attacks.per_direction(search)
        passes *= len(latent.required_directions().sigma)
    return attacks.best_of(search, c.restarts), passes


def _loss(config: ConfigDict) -> Loss:
    return mixed(config.natra.kappa) if config.natra.loss == "mixed" else soft_cross_entropy


def _natra(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    c, latent = config.natra, required(latent)
    search, passes = _search(config, latent)
    return natra(
        space(config, latent),
        search,
        num_classes=num_classes,
        rho=c.rho,
        epsilon_max=c.epsilon_max,
        smoothing=c.smoothing,
        loss=_loss(config),
        passes=passes,
    )


def _natra_oa(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    latent = required(latent)
    search, passes = _search(config, latent)
    return natra_oa(
        space(config, latent),
        search,
        num_classes=num_classes,
        epsilon=config.natra_oa.epsilon,
        loss=_loss(config),
        passes=passes,
    )


def _random_from(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    latent = required(latent)
    if config.random.kind == "normal_w":
        return random_normal(latent.generator, latent.params, num_classes=num_classes)
    return random(space(config, latent), num_classes=num_classes, epsilon=config.natra.epsilon_max)


_SEARCH_FIELDS = (
    *(f"natra.{name}" for name in ("num_steps", "restarts", "random_start", "search")),
    *("natra.loss", "natra.kappa"),
)
_RADIUS_FIELDS = ("natra.rho", "natra.epsilon_max", "natra.smoothing")
NATRA = MethodSpec(
    _natra, fields=(*SPACE_FIELDS, *_SEARCH_FIELDS, *_RADIUS_FIELDS), latent="directions"
)
NATRA_OL = NATRA._replace(single_code=True)
NATRA_OA = MethodSpec(
    _natra_oa, fields=(*SPACE_FIELDS, *_SEARCH_FIELDS, "natra_oa.epsilon"), latent="directions"
)
RANDOM = MethodSpec(
    _random_from, fields=(*SPACE_FIELDS, "natra.epsilon_max", "random.kind"), latent="directions"
)
RANDOM_LONG = RANDOM._replace(match_passes_of="natra")
