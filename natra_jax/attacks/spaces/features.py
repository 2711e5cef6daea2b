"""AdvBN (Shu et al. 2021): the mean and the spread of a classifier's features, channel by channel."""

from __future__ import annotations

from typing import NamedTuple

import jax
from jax.tree_util import Partial

from natra_jax.attacks.search import Space, require_count
from natra_jax.attacks.spaces.balls import in_cube
from natra_jax.feature_statistics import channel_means, perturb
from natra_jax.types import Bound


class FeatureCenter(NamedTuple):
    """Features at the cut of a classifier, and what their statistics are before the attack moves them."""

    features: jax.Array  # [B, ..., C]
    means: jax.Array  # [G, C]


class Statistics(NamedTuple):
    """The deviation of AdvBN's m and s from 1."""

    mean: jax.Array  # m - 1, [G, C]
    std: jax.Array  # s - 1, [G, C]


def feature_stats(group: int, *, relu: bool = True) -> Space:
    """f' = relu((f - mu) s + m mu), m and s within 1 ± epsilon. origin: features [B, ..., C]; delta: Statistics [B // group, C].

    group: neighbouring examples that share m, s and mu; explicit, so that the answer does not depend on how a batch is divided over
    devices. A group's radius is its first example's. relu: whether the features are the output of a ReLU and shall stay so.

    Raises ValueError for a group below 1.
    """
    require_count("feature_stats: group", group, 1)
    return Space(
        anchor=Partial(Bound(_measure, group)),
        init=Partial(Bound(_uniform, group)),
        project=Partial(Bound(_project, group)),
        decode=Partial(Bound(_decode, relu)),
        group=group,
    )


def _measure(group, keys, features):
    return FeatureCenter(features, channel_means(features, features.shape[0] // group))


def _uniform(group, keys, center, epsilon):
    shape, dtype = center.means.shape[1:], center.means.dtype

    def draw(key, e):
        of_mean, of_std = jax.random.split(key)
        return Statistics(
            jax.random.uniform(of_mean, shape, dtype, -e, e),
            jax.random.uniform(of_std, shape, dtype, -e, e),
        )

    return jax.vmap(draw)(keys[::group], epsilon[::group].astype(dtype))


def _project(group, delta, center, epsilon):
    return jax.tree.map(lambda d: in_cube(d, epsilon[::group]), delta)


def _decode(relu, center, delta):
    return perturb(center.features, center.means, 1 + delta.mean, 1 + delta.std, relu)
