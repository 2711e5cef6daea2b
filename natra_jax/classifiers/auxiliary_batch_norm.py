"""Auxiliary BatchNorm (AdvProp, Xie et al. 2020; AdvBN): one set for clean features, one for
adversarial.

The auxiliary set is a second set of every BatchNorm's weights and statistics. It is kept in the
same trees under the name 'adversarial', where Flax does not look. It serves any Flax classifier: a
BatchNorm is any module that has batch_stats.

    variables = add_auxiliary(variables)  # the auxiliary set starts as a copy
    logits = module.apply(variables, images, train=False)  # clean BatchNorm, as before
    logits = module.apply(adversarial(variables), images, train=False)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

AUXILIARY = "adversarial"  # the name of the auxiliary set in the trees, in saved files as well
Variables = dict[str, Any]  # params and batch_stats


def add_auxiliary(
    variables: Variables, skip: Callable[[tuple[str, ...]], bool] = lambda path: False
) -> Variables:
    """Return the variables with an auxiliary copy of every BatchNorm; without any, as they are.

    skip: tells whether the layer at this path is to have none, such as one in the trunk before an
    AdvBN layer.
    """
    norms = {path[:-1] for path in flatten_dict(variables["batch_stats"]) if not skip(path)}

    def with_copies(tree: Any) -> Any:
        flat: Any = flatten_dict(tree)
        # true copies: a training step donates its buffers, each of them once
        copies = {
            (AUXILIARY, *path): jnp.copy(leaf) for path, leaf in flat.items() if path[:-1] in norms
        }
        return unflatten_dict(flat | copies)

    return {collection: with_copies(tree) for collection, tree in variables.items()}


def has_auxiliary(variables: Variables) -> bool:
    """Tell whether the variables have an auxiliary BatchNorm."""
    # a BatchNorm without scale and bias has statistics alone
    return any(AUXILIARY in tree for tree in variables.values())


def adversarial(variables: Variables) -> Variables:
    """Return the variables with every auxiliary BatchNorm in the place of the clean one."""
    return {
        name: _merged(_without(tree), tree.get(AUXILIARY, {})) for name, tree in variables.items()
    }


def clean(variables: Variables) -> Variables:
    """Return the variables without the auxiliary BatchNorm."""
    return {name: _without(tree) for name, tree in variables.items()}


def with_stats(batch_stats: Any, clean_stats: Any, adversarial_stats: Any) -> Any:
    """Return the batch_stats after a step that updated each branch by itself.

    Args:
      batch_stats: before the step, with or without the auxiliary set.
      clean_stats: as the clean branch left them.
      adversarial_stats: as the adversarial branch left them, in the places of the clean ones.
    """
    if AUXILIARY not in batch_stats:
        return clean_stats
    updated = flatten_dict(adversarial_stats)
    auxiliary = {path: updated[path] for path in flatten_dict(batch_stats[AUXILIARY])}
    return _without(clean_stats) | {AUXILIARY: unflatten_dict(auxiliary)}


def _without(tree: Any) -> Any:
    return {name: branch for name, branch in tree.items() if name != AUXILIARY}


def _merged(tree: Any, over: Any) -> Any:
    return unflatten_dict(flatten_dict(tree) | flatten_dict(over))
