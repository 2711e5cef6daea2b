"""AdvBN (Shu et al. 2021): the mean and the spread of each channel of a classifier's features."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
from jax.tree_util import Partial
from jaxtyping import Float

from natra_jax.attacks.search import Space, require_count
from natra_jax.attacks.spaces.balls import in_cube
from natra_jax.feature_statistics import channel_means, perturb
from natra_jax.types import Array, Keys


class FeatureCenter(NamedTuple):
    """Features at the cut of a classifier, and their statistics before the attack moves them."""

    features: Float[Array, "B *space C"]
    means: Float[Array, "G C"]


class Statistics(NamedTuple):
    """The deviation of AdvBN's m and s from 1."""

    mean: Float[Array, "G C"]  # m - 1
    std: Float[Array, "G C"]  # s - 1


def feature_stats(group: int, *, relu: bool = True) -> Space:
    """Build the Space of AdvBN: f' = relu((f - mu) s + m mu), with m and s within 1 ± epsilon.

    origin: features [B, ..., C]; delta: Statistics [B // group, C]. A group's radius is its first
    example's.

    Args:
        group: the number of neighbouring examples that share m, s and mu. It is explicit, so that
            the answer does not depend on how a batch is divided over devices.
        relu: whether the features are the output of a ReLU and shall stay so.

    Returns:
        The Space.

    Raises:
        ValueError: a group below 1.
    """
    require_count("feature_stats: group", group, 1)
    anchor, init, project, decode = _functions(group, relu)
    return Space(Partial(anchor), Partial(init), Partial(project), Partial(decode), group)


@cache
def _functions(group: int, relu: bool) -> tuple[Callable[..., Any], ...]:
    """Build the Space's anchor, init, project and decode."""

    def anchor(keys: Keys, features: Float[Array, "B *space C"]) -> FeatureCenter:
        return FeatureCenter(features, channel_means(features, features.shape[0] // group))

    def init(keys: Keys, center: FeatureCenter, epsilon: Float[Array, " B"]) -> Statistics:
        shape, dtype = center.means.shape[1:], center.means.dtype

        def draw(key: Array, e: Float[Array, ""]) -> Statistics:
            key_mean, key_std = jax.random.split(key)
            return Statistics(
                jax.random.uniform(key_mean, shape, dtype, -e, e),
                jax.random.uniform(key_std, shape, dtype, -e, e),
            )

        return jax.vmap(draw)(keys[::group], epsilon[::group].astype(dtype))

    def project(
        delta: Statistics, center: FeatureCenter, epsilon: Float[Array, " B"]
    ) -> Statistics:
        return jax.tree.map(lambda d: in_cube(d, epsilon[::group]), delta)

    def decode(center: FeatureCenter, delta: Statistics) -> Float[Array, "B *space C"]:
        return perturb(center.features, center.means, 1 + delta.mean, 1 + delta.std, relu)

    return anchor, init, project, decode
