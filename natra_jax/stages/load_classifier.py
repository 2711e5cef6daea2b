"""Loading a classifier of the stage train from a work directory, outside of the pipeline."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
from etils import epath

from natra_jax.stages import classifier
from natra_jax.types import UserError


class Classifier(NamedTuple):
    """A trained classifier."""

    logits_fn: Callable[[jax.Array], jax.Array]
    """images [B, H, W, C], float32 in [-1, 1] -> logits [B, num_classes]: a jax.tree_util.Partial
    that holds the weights"""
    classes: tuple[str, ...]  # names of the labels
    image_shape: tuple[int, int, int]  # [H, W, C] of the training images
    fit: str  # of natra_jax.data.FITS: how photos were brought to that size; '' if they came so


def load(workdir: str | os.PathLike, method: str, seed: int, factory: str = "") -> Classifier:
    """Load the classifier that the experiment in workdir trained by this method from this seed.

    Args:
        workdir: of the experiment.
        method: that the classifier was trained by.
        seed: that it was trained from.
        factory: the experiment's classifier.factory, 'module:function' of a classifier of your
            own, and '' for ours. Only the module that is named here is imported; that the work
            directory names the same is required.

    Raises:
        UserError: workdir is no experiment's, has no such training, a damaged one, or one of a
            classifier of another factory.
    """
    root = epath.Path(workdir).expanduser()
    if not (root / "config.json").exists():
        raise UserError(
            f"{workdir}: no experiment there (no config.json): name the --workdir of a run of "
            "natra_jax.main"
        )
    directory = root / "train" / f"{method}-{seed}"
    if not classifier.is_kept(directory):
        raise UserError(
            f"{workdir}: no finished training of method {method!r} from seed {seed} "
            f"({_there(root)})"
        )
    config, description = classifier.describe(directory, factory)
    variables = classifier.load(directory, config, description)
    logits_fn = classifier.logits_fn(config, description.num_classes, variables)
    return Classifier(logits_fn, description.classes, description.image_shape, description.fit)


def load_classifier(
    workdir: str | os.PathLike, method: str, seed: int, factory: str = ""
) -> Callable[[jax.Array], jax.Array]:
    """Load the classifier of a method and seed in workdir as logits_fn.

    Args:
        workdir: of the experiment.
        method: that the classifier was trained by.
        seed: that it was trained from.
        factory: the experiment's classifier.factory, where it is 'module:function' of a classifier
            of your own; the work directory's word for it is not enough to import a module.

    Returns:
        logits_fn, which takes images [B, H, W, C], float32 in [-1, 1], to logits [B, num_classes].
        It is a jax.tree_util.Partial that holds the weights: it may be called, jitted, attacked, or
        passed through jit as an argument.

    Raises:
        UserError: workdir is no experiment's, has no such training, a damaged one, or one of a
            classifier of another factory.
    """
    return load(workdir, method, seed, factory).logits_fn


def _there(root: epath.Path) -> str:
    """List the trainings, as 'there are natra (seeds 0, 1), original (seed 0)'."""
    seeds: dict[str, list[int]] = {}
    for path in (root / "train").iterdir() if (root / "train").is_dir() else ():
        if (match := re.fullmatch(r"(.+)-(\d+)", path.name)) and classifier.is_kept(path):
            seeds.setdefault(match[1], []).append(int(match[2]))
    if not seeds:
        return "there is none: run the stage train"
    listed = (
        f"{method} (seed{'s' * (len(found) > 1)} {', '.join(map(str, sorted(found)))})"
        for method, found in sorted(seeds.items())
    )
    return f"there are {', '.join(listed)}"
