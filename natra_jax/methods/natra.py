"""NaTra and its ablations: natural adversarial training in a generator's code space.

natra       the worst variation inside a radius that adapts to each example, with adaptive label
            smoothing (NaTra eq. 13 and 14)
natra_oa    the same with a fixed radius and hard labels ("NaTra without Adaptive Perturbation
            Tuning")
natra_ol    natra with a single code an image, the same for all layers ("NaTra without Latent Codes
            Expansion")
natra_paper natra as the paper has it, whatever an experiment has found to work better; what the
            paper leaves open (K, rho, c) is in the section natra_paper
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
from natra_jax.attacks import Attack, AttackResult, LossFn, Space
from natra_jax.attacks.objective import LOSSES as LABEL_LOSSES
from natra_jax.losses import mixed, soft_cross_entropy
from natra_jax.methods import natural
from natra_jax.methods.original import CLASSIFIER_STEP
from natra_jax.methods.spec import Latent, MethodSpec, required
from natra_jax.types import Batch, Keys, LogitsFn, Loss, Method, Variation, Vary

LOSSES = ("ce", "mixed")
SEARCH_LOSSES = ("same", *LABEL_LOSSES)
SMOOTHED = ("both", "search", "update")
PUBLISHED = {  # fields of the section natra, as the paper has them
    "rule": "steepest",  # ours, and the size: eq. 6 prints the raw gradient, but no size with it
    "step_size": 0.0,
    "start": "normal",  # N(0, 1), projected
    "draw": "normal",
    "redraw": 0.0,
    "restarts": 1,
    "search": "joint",
    "loss": "ce",
    "kappa": 0.0,
    "search_loss": "same",
    "smoothed": "both",
    "smoothed_towards": "dirichlet",
    "residual": False,
}
_SET = ("truncation", "norm", "units", "epsilon_max")  # the largest set that natra moves in


class Tuning(NamedTuple):
    """The constants of Adaptive Perturbation Tuning (NaTra section 3.4.3)."""

    rho: float  # the growth of a radius where the classifier holds, in the units of delta
    epsilon_max: float  # the largest radius, likewise
    smoothing: float  # c of label smoothing, a = min(1, c epsilon)
    towards: str = "dirichlet"  # of `attacks.soft_labels`
    smoothed: str = "both"  # where labels are smoothed: the search, the update, or both


class Kept(NamedTuple):
    """Perturbations that stay with their examples (Zheng et al. 2020, in code space).

    A search starts where the example's last one ended.
    """

    size: int  # S, of a perturbation
    redraw: float  # the probability that a search starts at a random point nevertheless


class Inner(NamedTuple):
    """The inner maximisation, whatever the radius."""

    search: Attack
    passes: int  # its network passes, for methods of equal cost
    loss: str = "same"
    """What it climbs: 'same' as is trained on, or one of `attacks.objective` to hard labels."""
    kept: Kept | None = None  # None to start anew at each visit
    is_residual: bool = False  # whether the Space is `attacks.residual`'s


def natra(
    space: Space,
    inner: Inner,
    tuning: Tuning,
    *,
    num_classes: int,
    loss: Loss = soft_cross_entropy,
) -> Method:
    """Build the full method: adaptive radii and adaptive label smoothing (NaTra eq. 13 and 14).

    Args:
        space: the set of natural variation.
        inner: the inner maximisation.
        tuning: the constants of adaptive tuning.
        num_classes: C.
        loss: of the varied images, in training and, unless inner has its own, in the search.

    Returns:
        The method.
    """
    return _method(Partial(_adaptive(inner, tuning, loss, num_classes), space), inner, loss)


def natra_oa(
    space: Space,
    inner: Inner,
    *,
    num_classes: int,
    epsilon: float,
    loss: Loss = soft_cross_entropy,
) -> Method:
    """Build NaTra-OA, without adaptive tuning: one fixed radius for all and one-hot targets.

    Args:
        space: the set of natural variation.
        inner: the inner maximisation.
        num_classes: C.
        epsilon: the radius, in the units of the Space's delta.
        loss: of the varied images, in training and, unless inner has its own, in the search.

    Returns:
        The method.
    """
    return _method(Partial(_fixed(inner, loss, num_classes, epsilon), space), inner, loss)


def _method(vary: Vary, inner: Inner, loss: Loss) -> Method:
    kept = None if inner.kept is None else inner.kept.size
    return Method(vary, inner.passes + 2 * CLASSIFIER_STEP, loss, kept=kept)


@cache
def _adaptive(
    inner: Inner, tuning: Tuning, loss: Loss, num_classes: int
) -> Callable[..., Variation]:
    rho, epsilon_max, smoothing, towards, smoothed = tuning

    def labels_for(
        part: str, keys: Keys, labels: Integer[Array, " B"], epsilon: Float[Array, " B"]
    ) -> Float[Array, "B C"]:
        if smoothed in ("both", part):
            return attacks.soft_labels(keys, labels, epsilon, smoothing, num_classes, towards)
        return jax.nn.one_hot(labels, num_classes, dtype=epsilon.dtype)

    def vary(
        space: Space, logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"]
    ) -> Variation:
        keys_search, keys_labels = jax.vmap(jax.random.split, out_axes=1)(keys)
        labels = batch["label"]
        targets = labels_for("search", keys_labels, labels, epsilon)
        radius = attacks.trial_radius(epsilon, rho, epsilon_max)
        result = _search(inner, loss, space, logits_fn, keys_search, batch, targets, radius)
        epsilon = attacks.updated_radius(epsilon, result.success, rho, epsilon_max)  # NaTra eq. 13
        targets = labels_for("update", keys_labels, labels, epsilon)
        metrics = {"epsilon": epsilon, "at_cap": (epsilon >= epsilon_max).astype(epsilon.dtype)}
        delta = None if inner.kept is None else result.delta
        return Variation(result.inputs, targets, epsilon, result.success, metrics, delta)

    return vary


@cache
def _fixed(inner: Inner, loss: Loss, num_classes: int, radius: float) -> Callable[..., Variation]:
    def vary(
        space: Space, logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"]
    ) -> Variation:
        targets = jax.nn.one_hot(batch["label"], num_classes)
        radii = jnp.full_like(epsilon, radius)
        result = _search(inner, loss, space, logits_fn, keys, batch, targets, radii)
        delta = None if inner.kept is None else result.delta
        return Variation(result.inputs, targets, epsilon, result.success, delta=delta)

    return vary


def _search(
    inner: Inner,
    loss: Loss,
    space: Space,
    logits_fn: LogitsFn,
    keys: Keys,
    batch: Batch,
    targets: Float[Array, "B C"],
    radius: Float[Array, " B"],
) -> AttackResult:
    """Run the inner maximisation on a batch, from kept perturbations where there are such."""
    start, kept = None, inner.kept
    if kept is not None:
        keys, keys_redraw = jax.vmap(jax.random.split, out_axes=1)(keys)
        anew = jax.vmap(lambda key: jax.random.bernoulli(key, kept.redraw))(keys_redraw)
        # what is not finite is drawn by the search
        start = jnp.where(anew[:, None], jnp.nan, batch["delta"])
    loss_fn = _objective(inner, loss, logits_fn, targets, batch["label"])
    origin = natural.origin(batch, inner.is_residual)
    return inner.search(loss_fn, keys, space, origin, radius, start=start)


def _objective(
    inner: Inner,
    loss: Loss,
    logits_fn: LogitsFn,
    targets: Float[Array, "B C"],
    labels: Integer[Array, " B"],
) -> LossFn:
    if inner.loss != "same":
        return attacks.objective(logits_fn, labels, loss=inner.loss)
    return attacks.objective(
        logits_fn, labels, loss=lambda logits, labels: loss(logits, targets, labels)
    )


# From an experiment's config


def _inner(config: ConfigDict, latent: Latent) -> Inner:
    c = config.natra
    search, passes = natural.training_search(config, latent)
    size = len(latent.required_directions().sigma)
    kept = Kept(size, c.redraw) if c.start == "persistent" else None
    return Inner(search, passes, c.search_loss, kept, c.residual)


def _loss(config: ConfigDict) -> Loss:
    return mixed(config.natra.kappa) if config.natra.loss == "mixed" else soft_cross_entropy


def _natra(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    c, latent = config.natra, required(latent)
    return natra(
        natural.training_space(config, latent),
        _inner(config, latent),
        Tuning(c.rho, c.epsilon_max, c.smoothing, c.smoothed_towards, c.smoothed),
        num_classes=num_classes,
        loss=_loss(config),
    )


def _natra_paper(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    c, own = config.natra, config.natra_paper
    free = {name: own[name] for name in own} | {name: c[name] for name in _SET}
    return _natra(ConfigDict({"natra": PUBLISHED | free}), num_classes, latent)


def _natra_oa(config: ConfigDict, num_classes: int, latent: Latent | None) -> Method:
    latent = required(latent)
    return natra_oa(
        natural.training_space(config, latent),
        _inner(config, latent),
        num_classes=num_classes,
        epsilon=config.natra_oa.epsilon,
        loss=_loss(config),
    )


_INNER_FIELDS = (
    *natural.TRAINING_SPACE_FIELDS,
    *natural.SEARCH_FIELDS,
    *(f"natra.{name}" for name in ("search_loss", "redraw", "loss", "kappa")),
)
_TUNING_FIELDS = tuple(
    f"natra.{name}" for name in ("rho", "epsilon_max", "smoothing", "smoothed_towards", "smoothed")
)
NATRA = MethodSpec(_natra, fields=(*_INNER_FIELDS, *_TUNING_FIELDS), latent="directions")
NATRA_OL = NATRA._replace(single_code=True)
NATRA_PAPER = MethodSpec(
    _natra_paper, fields=("natra_paper", *(f"natra.{name}" for name in _SET)), latent="directions"
)
NATRA_OA = MethodSpec(_natra_oa, fields=(*_INNER_FIELDS, "natra_oa.epsilon"), latent="directions")
