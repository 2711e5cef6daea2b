"""A robustness figure that does not rest on one attack, and signs that it should not be trusted.

RobustBench raises such signs, too. A classifier trained with adaptive radii and soft labels can
look robust because its gradients are masked: a reimplementation of CAT held 68 % under PGD on the
cross entropy and 24 % under APGD on the logits' ratio. So the worst over several losses, restarts
and a search without gradients is reported, and beside it

    random_only    share of examples that random search breaks and the gradient attacks do not
    zero_gradient  share of examples where the gradient of the loss is exactly zero at the start
    not_rising     1 where a larger radius did not give a higher mean loss, else 0
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer

from natra_jax import attacks
from natra_jax.attacks import Attack, Space
from natra_jax.evaluation.benchmark import Attacked, attack, even_batches
from natra_jax.types import Array, LogitsFn

_RISING_ON = 100  # examples, of which the mean loss is compared between radii


class WorstCase(NamedTuple):
    """The union of several attacks on one data set."""

    failed: np.ndarray  # [N] bool, broken by any of them
    warnings: dict[str, float]  # the signs above


def worst_case(
    gradient_attacks: Mapping[str, Attack],
    random_attack: Attack,
    space: Space,
    logits_fn: LogitsFn,
    origin: np.ndarray,
    labels: np.ndarray,
    epsilon: float,
    *,
    seed: int,
    batch_size: int,
) -> WorstCase:
    """Run several attacks on a data set and unite what they break.

    Args:
        gradient_attacks: {loss: attack}, with losses as in `attacks.objective`.
        random_attack: a search without gradients, run on the margin.
        space: to search in.
        logits_fn: a Partial with its weights bound.
        origin: codes or images, [N, ...].
        labels: [N].
        epsilon: the radius, in the Space's units.
        seed: of the random starts.
        batch_size: the most examples at once.

    Returns:
        The union, and the warning signs.
    """

    def run(search: Attack, loss: str, radius: float, rows: slice = slice(None)) -> Attacked:
        examples = space, logits_fn, origin[rows], labels[rows]
        return attack(search, *examples, radius, loss=loss, seed=seed, batch_size=batch_size)

    by_gradient = [run(search, loss, epsilon) for loss, search in gradient_attacks.items()]
    found = np.any([attacked.failed for attacked in by_gradient], axis=0)
    by_chance = run(random_attack, "margin", epsilon).failed
    loss, search = next(iter(gradient_attacks.items()))
    some = slice(_RISING_ON)
    rising = [
        *(run(search, loss, share * epsilon, some).loss.mean() for share in (0.25, 0.5)),
        by_gradient[0].loss[some].mean(),
    ]
    warnings = {
        "random_only": float((by_chance & ~found).mean()),
        "zero_gradient": _zero_gradient(space, logits_fn, origin, labels, epsilon, batch_size),
        "not_rising": float(np.any(np.diff(rising) <= 0)),
    }
    return WorstCase(found | by_chance, warnings)


def _zero_gradient(
    space: Space,
    logits_fn: LogitsFn,
    origin: np.ndarray,
    labels: np.ndarray,
    epsilon: float,
    batch_size: int,
) -> float:
    """Return the share of examples whose gradient is exactly zero at the start."""
    found = [
        _gradient_is_zero(
            space, logits_fn, origin[index], labels[index], np.full(len(index), epsilon, np.float32)
        )
        for index in even_batches(len(labels), batch_size)
    ]
    return float(np.concatenate(found)[: len(labels)].mean())


@jax.jit
def _gradient_is_zero(
    space: Space,
    logits_fn: LogitsFn,
    origin: jax.Array,
    labels: Integer[Array, " B"],
    epsilon: Float[Array, " B"],
) -> Bool[Array, " B"]:
    # the interface asks for keys; nothing drawn from them is used
    keys = jax.random.split(jax.random.key(0), len(labels))
    center = space.anchor(keys, origin)
    delta = jax.tree.map(jnp.zeros_like, space.init(keys, center, epsilon))
    loss_fn = attacks.objective(logits_fn, labels, loss="margin")
    gradient = jax.grad(lambda d: loss_fn(space.decode(center, d))[0].sum())(delta)
    return jnp.stack(
        [(g == 0).reshape(len(labels), -1).all(1) for g in jax.tree.leaves(gradient)]
    ).all(0)
