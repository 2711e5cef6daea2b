"""Splits drawn for a data set that comes without, and classes too rare to be split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from natra_jax.data.encoded_images import Decoded
from natra_jax.data.source import Images, Split
from natra_jax.data.subset import Subset
from natra_jax.types import UserError

LEAST = "data.min_per_class"  # the config field


def stratified(
    label: np.ndarray,
    shares: Mapping[str, float],
    seed: int,
    rest: str,
    classes: Sequence[str],
    location: str,
    field: str = LEAST,
) -> dict[str, np.ndarray]:
    """Draw splits that have the same share of every label's examples, at least one.

    The draw for a label depends on seed, label and the number of its examples alone.

    Args:
        label: [N] int32.
        shares: {split: its share of every label's examples}.
        seed: of the draw.
        rest: the split that gets the other examples.
        classes: the names of the labels.
        location: the data set as error messages name it.
        field: the config field that leaves out rare classes; '' for none.

    Returns:
        {split: indices, rising}.

    Raises:
        UserError: a class has too few examples for every split to get one.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (rest, *shares)}
    values, first = np.unique(np.sort(label), return_index=True)
    of_labels = np.split(np.argsort(label, kind="stable"), first[1:])
    for value, of_label in zip(values.tolist(), of_labels, strict=True):
        index = np.random.default_rng((seed, value)).permutation(of_label)
        if len(index) < len(parts):
            images = "1 image" if len(index) == 1 else f"{len(index)} images"
            raise UserError(
                f"{location}: class {classes[value]!r} has {images}, "
                f"but {', '.join(parts)} need one each: "
                + _remedy(np.array([len(examples) for examples in of_labels]), len(parts), field)
            )
        counts = [max(1, round(share * len(index))) for share in shares.values()]
        if sum(counts) >= len(index):
            counts = [1] * len(counts)
        *taken, left = np.split(index, np.cumsum(counts))
        for name, of_split in zip(shares, taken, strict=True):
            parts[name].append(of_split)
        parts[rest].append(left)
    return {name: np.sort(np.concatenate(indices)) for name, indices in parts.items()}


def complete(
    splits: dict[str, Split],
    classes: Sequence[str],
    shares: Mapping[str, float],
    seed: int,
    location: str,
    field: str = LEAST,
) -> dict[str, Split]:
    """Return the splits with those that are missing, drawn from train.

    Args:
        splits: those that there are, train among them.
        classes: the names of the labels.
        shares: {split: its share of every label's examples of train, if it is missing}.
        seed: of the draw.
        location: the data set as error messages name it.
        field: as `stratified` has it.

    Raises:
        UserError: as `stratified` raises it.
    """
    missing = {name: share for name, share in shares.items() if name not in splits}
    if not missing:
        return splits
    drawn = stratified(splits["train"].label, missing, seed, "train", classes, location, field)
    return splits | {name: select(splits["train"], index) for name, index in drawn.items()}


def without_rare(
    splits: dict[str, Split],
    classes: Sequence[str],
    least: int,
    location: str,
    shares: Mapping[str, float],
    field: str = LEAST,
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Leave out the classes that are rare in train, and number the others anew in their order.

    Args:
        splits: train and others.
        classes: the names of the labels.
        least: examples in train that a class must have, before missing splits are drawn from it.
            Where it is 0, every class is kept, but then each must be in train.
        location: the data set as error messages name it.
        shares: as `complete` has it, which is called next: what it would refuse is not advised.
        field: as `stratified` has it.

    Returns:
        The splits and the names of the classes that are kept.

    Raises:
        UserError: a class that is kept is not in train, or fewer than two classes or no example of
            a split are left.
    """
    counts = np.bincount(splits["train"].label, minlength=len(classes))
    needed = 1 + len(set(shares) - set(splits))
    if not least and not counts.all():
        raise UserError(
            f"{location}: class {classes[int(np.argmin(counts))]!r} has no image to train on: "
            + _remedy(counts, needed, field)
        )
    kept = np.flatnonzero(counts >= least)
    if len(kept) < 2:
        raise UserError(f"{location}: {_too_few(counts, classes, least, needed)}")
    if len(kept) == len(classes):
        return splits, tuple(classes)
    number = np.full(len(classes), -1, np.int32)
    number[kept] = np.arange(len(kept))
    left = {}
    for name, split in splits.items():
        index = np.flatnonzero(number[split.label] >= 0)
        if not len(index):
            raise UserError(
                f"{location}: no image of {name} is of a class that is trained on: "
                "set data.own_splits=False"
            )
        chosen = select(split, index)
        left[name] = Split(chosen.image, number[chosen.label])
    return left, tuple(classes[int(i)] for i in kept)


def at_most(split: Split, most: int, seed: int) -> Split:
    """Return the split with `most` examples of each label where it has more; 0 for all.

    The draw for a label depends on seed and label alone.
    """
    if not most or np.bincount(split.label, minlength=1).max() <= most:
        return split
    of_labels = [np.flatnonzero(split.label == label) for label in np.unique(split.label)]
    drawn = [
        np.random.default_rng((seed, int(split.label[index[0]]))).permutation(index)[:most]
        for index in of_labels
    ]
    return select(split, np.sort(np.concatenate(drawn)))


def select(split: Split, index: np.ndarray) -> Split:
    """Return the examples at index [n], their images read where they are asked for."""
    image: Images = (
        split.image.select(index)
        if isinstance(split.image, Decoded)
        else Subset(split.image, index)
    )
    return Split(image, np.asarray(split.label[index]))


def _remedy(counts: np.ndarray, needed: int, field: str) -> str:
    """Say what to do about classes of fewer examples than are needed, of classes of such counts."""
    if (counts >= needed).sum() < 2:
        return f"give each class {needed} image{'s' * (needed > 1)} at least"
    return "add images" + (f", or leave such classes out with {field}={needed}" if field else "")


def _too_few(counts: np.ndarray, classes: Sequence[str], least: int, needed: int) -> str:
    """Say why fewer than two classes are left."""
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no classes"
        return f"has {found}: there must be two at least"
    second = np.sort(counts)[-2]
    asked = f"fewer than two classes have the {least} images each that {LEAST} asks for"
    if second < needed:
        return f"{asked}, nor the {needed} that are needed for one in each split: " + _remedy(
            counts, needed, LEAST
        )
    return f"{asked}: lower it to {second} or less"
