"""Clean and adversarial BatchNorm (Xie et al. 2020; AdvBN): every BatchNorm of a classifier gets a twin for adversarial features.

A twin is a second set of the layer's weights and statistics, kept in the same trees under the name 'adversarial', where Flax does not
look. It serves any Flax classifier: a BatchNorm is whatever has batch_stats.

    variables = add_twins(variables)                           # twins start as copies
    logits = module.apply(variables, images, train=False)      # clean BatchNorm, as before
    logits = module.apply(adversarial(variables), images, train=False)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

TWINS = "adversarial"  # the name that they are kept under
Variables = dict[str, Any]  # params and batch_stats


def add_auxiliary(
    variables: Variables, skip: Callable[[tuple[str, ...]], bool] = lambda path: False
) -> Variables:
    """The variables with an adversarial twin of every BatchNorm, a copy of it; without any where there is none to copy.

    skip: whether a layer at this path is to have none, such as one in the trunk before an AdvBN layer.
    """
    norms = {path[:-1] for path in flatten_dict(variables["batch_stats"]) if not skip(path)}

    def with_twins(tree):
        flat = flatten_dict(tree)
        # true copies: a training step donates its buffers, each of them once
        return unflatten_dict(
            flat
            | {(TWINS, *path): jnp.copy(leaf) for path, leaf in flat.items() if path[:-1] in norms}
        )

    return {collection: with_twins(tree) for collection, tree in variables.items()}


def has_auxiliary(variables: Variables) -> bool:
    # a BatchNorm without scale and bias has statistics alone
    return any(TWINS in tree for tree in variables.values())


def adversarial(variables: Variables) -> Variables:
    """The variables with every BatchNorm's twin in its place, and no twins."""
    return {name: _merged(_without(tree), tree.get(TWINS, {})) for name, tree in variables.items()}


def clean(variables: Variables) -> Variables:
    """The variables without the twins."""
    return {name: _without(tree) for name, tree in variables.items()}


def with_stats(batch_stats: Any, of_clean: Any, of_adversarial: Any) -> Any:
    """The batch_stats of a classifier with twins after a step: each branch's own statistics, [tree] with twins."""
    if TWINS not in batch_stats:
        return of_clean
    updated = flatten_dict(of_adversarial)
    return _without(of_clean) | {
        TWINS: unflatten_dict({path: updated[path] for path in flatten_dict(batch_stats[TWINS])})
    }


def _without(tree: Any) -> Any:
    return {name: branch for name, branch in tree.items() if name != TWINS}


def _merged(tree: Any, over: Any) -> Any:
    return unflatten_dict(flatten_dict(tree) | flatten_dict(over))
