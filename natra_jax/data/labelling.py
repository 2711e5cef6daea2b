"""The label of a prepared data set.

It is a class label, a whole number such as an identity, or attributes. Several attributes make one
label of all their combinations (the label powerset, Tsoumakas & Katakis 2007), so that whatever
works for classes works for them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from natra_jax.printable import printable
from natra_jax.types import UserError

OWN = "label"  # the feature that is the label where none is named
_MOST = 16  # attributes at a time: of so many, hardly two examples agree
_FIELD = "config field data.label"


class Task(NamedTuple):
    """The features that make the label, and the names of what it tells apart."""

    features: tuple[str, ...]  # that the label is made of; slashes lead into dictionaries
    kind: str  # class | number | attributes
    names: tuple[str, ...] = ()  # of the classes, or of the attributes

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """Return one whole number [N] for the label, of the features' numbers [N, features].

        Of attributes the first is worth most.
        """
        if self.kind != "attributes":
            return numbers[:, 0]
        return (numbers != 0) @ (1 << np.arange(len(self.features))[::-1])

    def name(self, value: int) -> str:
        """Return the name of the class of one such number."""
        if self.kind == "class":
            return self.names[value]
        if self.kind == "number":
            return str(value)
        last = len(self.names) - 1
        return ", ".join(
            name if value >> (last - i) & 1 else f"not {name}" for i, name in enumerate(self.names)
        )


def find(features: Any, label: str) -> Task:
    """Return the task that config field data.label names.

    Args:
        features: as a builder of TensorFlow Datasets has them.
        label: a feature, wherever it lies and in whichever case, or attributes joined by commas; ''
            for the feature `label`.

    Raises:
        UserError: the label names no feature. The message has those that there are.
    """
    tasks = dict(_leaves(features))
    wanted = [part.strip() for part in (label or OWN).split(",")]
    found = [_resolve(name, label, tasks) for name in wanted]
    if len(found) == 1 and tasks[found[0]].kind != "attributes":
        return tasks[found[0]]
    for name in found:
        if tasks[name].kind != "attributes":
            raise UserError(
                f"{_FIELD} is {label!r}: of several features each must be yes or no, "
                f"but {name} is a {tasks[name].kind}"
            )
    if len(set(found)) < len(found) or len(found) > _MOST:
        raise UserError(
            f"{_FIELD} is {label!r}: it must name at most {_MOST} attributes, none twice"
        )
    return Task(
        tuple(found), "attributes", tuple(printable(name.rsplit("/", 1)[-1]) for name in found)
    )


def labels(
    values: Mapping[str, np.ndarray], task: Task, least: int, location: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Label the examples with the numbers of their classes, from 0 on.

    The classes of a class label are all it has; of numbers and attributes those in train, in the
    order of their numbers.

    Args:
        values: {split: [N] whole numbers, of which those below 0 are not known}.
        task: the one that they are the values of.
        least: where 0, a combination of attributes that train lacks, or a number that another split
            has and train lacks, is an error; else such examples are left out with the other rare
            ones.
        location: the data set as error messages name it.

    Returns:
        ({split: labels [N] int32, -1 where there is none}, names of the classes).

    Raises:
        UserError: a class has no name, or train lacks one that it must have.
    """
    if task.kind == "class":
        for split, of_split in values.items():
            if len(of_split) and of_split.max() >= len(task.names):
                raise UserError(
                    f"{location}: {split} has the {task.features[0]} {of_split.max()}, "
                    f"but only {len(task.names)} are named"
                )
        labels_ = {
            split: np.maximum(of_split, -1).astype(np.int32) for split, of_split in values.items()
        }
        return labels_, task.names
    known = np.unique(values["train"][values["train"] >= 0])
    wanted = (
        np.arange(1 << len(task.names))
        if task.kind == "attributes"
        else np.unique(np.concatenate(list(values.values())))
    )
    absent = np.setdiff1d(wanted[wanted >= 0], known)
    if not least and len(absent):
        what = (
            task.name(int(absent[0]))
            if task.kind == "attributes"
            else f"{task.features[0]} {absent[0]}"
        )
        raise UserError(
            f"{location}: train has no image of {what!r}, and of {len(absent)} such in all: "
            "leave them out with data.min_per_class=1"
            + (", or set data.own_splits=False" if task.kind == "number" else "")
        )
    numbered = {}
    for split, of_split in values.items():
        number = np.searchsorted(known, of_split)
        is_known = (
            known[np.minimum(number, len(known) - 1)] == of_split
            if len(known)
            else np.zeros(len(of_split), bool)
        )
        numbered[split] = np.where(is_known, number, -1).astype(np.int32)
    return numbered, tuple(task.name(int(value)) for value in known)


def _leaves(features: Any, prefix: str = "") -> Iterator[tuple[str, Task]]:
    """Yield (name, the task that it alone would be) of the features that can be a label."""
    import tensorflow_datasets as tfds

    for name, feature in sorted(features.items()):  # which come in another order in every process
        whole = prefix + name
        if isinstance(feature, tfds.features.FeaturesDict):
            yield from _leaves(feature, f"{whole}/")
        elif isinstance(feature, tfds.features.ClassLabel) and feature.num_classes:
            yield whole, Task((whole,), "class", tuple(map(printable, feature.names)))
        elif isinstance(feature, tfds.features.Tensor) and feature.shape == ():
            dtype: Any = feature.np_dtype  # declared to be a tree of types, too
            if dtype == np.bool_:
                yield whole, Task((whole,), "attributes", (printable(name),))
            elif np.issubdtype(dtype, np.integer):
                yield whole, Task((whole,), "number")


def _resolve(name: str, label: str, tasks: Mapping[str, Task]) -> str:
    """Return the one feature that a name stands for, its path or its last part, in any case."""

    def last(feature: str) -> str:
        return feature.rsplit("/", 1)[-1]

    readings = (
        lambda f: f == name,
        lambda f: last(f) == name,
        lambda f: f.lower() == name.lower(),
        lambda f: last(f).lower() == name.lower(),
    )
    for fits in readings:
        if matches := [feature for feature in tasks if fits(feature)]:
            if len(matches) > 1:
                raise UserError(
                    f"{_FIELD} is {label!r}: {name!r} may be {' or '.join(matches)}: "
                    "write one of these"
                )
            return matches[0]
    raise UserError(
        f"{_FIELD} is {label!r}: the data set has no {name!r} that can be a label "
        f"({_nearest(name, [last(feature) for feature in tasks])})"
    )


def _nearest(name: str, valid: Sequence[str]) -> str:
    """Ask 'did you mean …?' with the valid names that are near, or list all of them."""
    small = {feature.lower(): feature for feature in valid}
    near = [small[match] for match in difflib.get_close_matches(name.lower(), small, n=2)]
    near += [
        feature
        for lower, feature in small.items()
        if name and (name.lower() in lower or lower in name.lower()) and feature not in near
    ]
    return f"did you mean {' or '.join(near)}?" if near else f"valid: {', '.join(valid) or 'none'}"
