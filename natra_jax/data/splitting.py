"""Splits of a data set that comes without, and classes too rare to be split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from natra_jax.data.encoded_images import Decoded
from natra_jax.data.source import Images, Split
from natra_jax.data.subset import Subset
from natra_jax.types import UserError


def stratified(
    label: np.ndarray,
    shares: Mapping[str, float],
    seed: int,
    rest: str,
    classes: Sequence[str],
    where: str,
) -> dict[str, np.ndarray]:
    """{split: indices, rising}: of every label's examples the share of each split, at least one, and the others for the split `rest`.

    The draw for a label depends on seed, label and the number of its examples alone. Raises UserError, naming the class and where it is, if
    it has too few examples for every split to get one.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (rest, *shares)}
    values, first = np.unique(np.sort(label), return_index=True)
    for value, of_label in zip(
        values, np.split(np.argsort(label, kind="stable"), first[1:]), strict=True
    ):
        index = np.random.default_rng((seed, int(value))).permutation(of_label)
        if len(index) < len(parts):
            images = "1 image" if len(index) == 1 else f"{len(index)} images"
            raise UserError(
                f"{where}: class {classes[value]!r} has {images}, but {', '.join(parts)} need one each: add images, remove the class, "
                f"or leave such out with data.min_per_class={len(parts)}"
            )
        counts = [max(1, round(share * len(index))) for share in shares.values()]
        if sum(counts) >= len(index):
            counts = [1] * len(counts)
        *taken, left = np.split(index, np.cumsum(counts))
        for name, of_split in zip(shares, taken, strict=True):
            parts[name].append(of_split)
        parts[rest].append(left)
    return {name: np.sort(np.concatenate(of)) for name, of in parts.items()}


def complete(
    splits: dict[str, Split],
    classes: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
    where: str,
) -> dict[str, Split]:
    """The splits with those of shares that are missing, drawn from train. Raises UserError as `stratified` does."""
    missing = {name: share for name, share in shares.items() if name not in splits}
    if not missing:
        return splits
    drawn = stratified(splits["train"].label, missing, seed, "train", classes, where)
    return splits | {name: select(splits["train"], index) for name, index in drawn.items()}


def without_rare(
    splits: dict[str, Split], classes: Sequence[str], least: int, where: str
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """The splits and classes without the classes of fewer than `least` examples in train, the others numbered anew in their order.

    Every class is kept where least is 0, but then each must be in train. Raises UserError if one is not, or if fewer than two classes or
    no example of a split are left.
    """
    counts = np.bincount(splits["train"].label, minlength=len(classes))
    if not least and not counts.all():
        raise UserError(
            f"{where}: class {classes[int(np.argmin(counts))]!r} has no image to train on: add some, or leave such classes out with "
            "data.min_per_class=1"
        )
    kept = np.flatnonzero(counts >= least)
    if len(kept) < 2:
        raise UserError(f"{where}: {_too_few(counts, classes, least)}")
    if len(kept) == len(classes):
        return splits, tuple(classes)
    number = np.full(len(classes), -1, np.int32)
    number[kept] = np.arange(len(kept))
    left = {}
    for name, split in splits.items():
        index = np.flatnonzero(number[split.label] >= 0)
        if not len(index):
            raise UserError(
                f"{where}: no image of {name} is of a class that is trained on: set data.own_splits=False"
            )
        chosen = select(split, index)
        left[name] = Split(chosen.image, number[chosen.label])
    return left, tuple(classes[i] for i in kept)


def at_most(split: Split, most: int, seed: int) -> Split:
    """The split with `most` examples of each label where it has more, drawn from seed and label alone; 0 for all."""
    if not most or np.bincount(split.label, minlength=1).max() <= most:
        return split
    of_labels = [np.flatnonzero(split.label == label) for label in np.unique(split.label)]
    drawn = [
        np.random.default_rng((seed, int(split.label[index[0]]))).permutation(index)[:most]
        for index in of_labels
    ]
    return select(split, np.sort(np.concatenate(drawn)))


def select(split: Split, index: np.ndarray) -> Split:
    """The examples at index, their images read where they are asked for."""
    image: Images = (
        split.image.select(index)
        if isinstance(split.image, Decoded)
        else Subset(split.image, index)
    )
    return Split(image, np.asarray(split.label[index]))


def _too_few(counts: np.ndarray, classes: Sequence[str], least: int) -> str:
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no classes"
        return f"has {found}: there must be two at least"
    second = np.sort(counts)[-2]
    return f"fewer than two classes have the {least} images each that data.min_per_class asks for: lower it to {second} or less"
