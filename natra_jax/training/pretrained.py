"""Reading a classifier's weights from anybody's orbax checkpoints."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
from etils import epath

from natra_jax import orbax_tree
from natra_jax.files import local
from natra_jax.types import UserError

_MARK = "_METADATA"  # the file in every directory that orbax wrote a tree of arrays into
_ITEMS = ("state", "default")  # what the tree is commonly called beside others


def read(path: epath.Path, like: Any) -> Any:
    """Read the variables in the orbax checkpoint at path.

    Args:
        path: a directory that a StandardCheckpointer wrote, or a CheckpointManager's, of which the
            newest step is taken. It holds like's collections and perhaps others beside them, such
            as an optimizer's state; or the params alone, where like has no batch_stats; of params
            that are one parameter, also what is in that.
        like: {"params": tree, "batch_stats": tree}. Shapes have to agree; types are converted.

    Returns:
        Variables of the structure, shapes and types of like.

    Raises:
        UserError: there is no checkpoint, it is damaged, or it holds other weights; the first that
            differs is named.
    """
    path = epath.Path(path).expanduser()
    path = path.resolve() if local(path) is not None else path
    directory = _find(path)
    target, found, variables_of = _layout(orbax_tree.stored(directory), like)
    orbax_tree.require_same(path, found, target, "classifier")
    return variables_of(orbax_tree.load(directory, target))


def _find(path: epath.Path) -> epath.Path:
    """Find the directory of the arrays, at or below path."""
    if not path.is_dir():
        raise UserError(f"{path}: is no directory that orbax wrote, nor an .npz file")
    if (path / _MARK).exists():
        return path
    inside = {child.name: child for child in path.iterdir() if child.is_dir()}
    steps = {
        int(match[1]): inside[name]
        for name in inside
        if (match := re.fullmatch(r"(?:\w+_)?(\d+)", name))
    }
    if steps:
        path = steps[max(steps)]
        if (path / _MARK).exists():
            return path
        inside = {child.name: child for child in path.iterdir() if child.is_dir()}
    items = [name for name in inside if (inside[name] / _MARK).exists()]
    items = [name for name in _ITEMS if name in items] or items
    if len(items) != 1:
        held = (
            f"several trees of arrays, {', '.join(sorted(items))}: name the one to read"
            if items
            else "no orbax checkpoint of arrays"
        )
        raise UserError(f"{path}: holds {held}")
    return inside[items[0]]


def _layout(stored: Any, like: Any) -> tuple[Any, Any, Callable[[Any], Any]]:
    """Compare a stored tree with like.

    Returns (target, found, variables_of): the part of like that the stored tree is to hold, where
    that is in it, and how to make variables of like's structure from a tree of target's.
    """
    params, batch_stats = like["params"], like["batch_stats"]
    names = set(stored) if isinstance(stored, dict) else set()
    if "params" in names and "params" not in params:
        # a collection without leaves may or may not have been written
        target = {name: tree for name, tree in like.items() if jax.tree.leaves(tree)}
        return (
            target,
            {name: stored[name] for name in like if name in names},
            lambda tree: like | tree,
        )
    if jax.tree.leaves(batch_stats):
        return like, {"params": stored}, dict
    if len(params) == 1 and not names & set(params):
        (name,) = params
        return (
            params[name],
            stored,
            lambda tree: {"params": {name: tree}, "batch_stats": batch_stats},
        )
    return params, stored, lambda tree: {"params": tree, "batch_stats": batch_stats}
