"""What of a prepared data set is the label: a class label, a whole number such as an identity, or attributes.

Several attributes make one label of all their combinations (the label powerset, Tsoumakas & Katakis 2007), so that whatever works for
classes works for them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from natra_jax.types import UserError

OWN = "label"  # the feature that is the label where none is named
_MOST = 16  # attributes at a time: of so many, hardly two examples agree
_FIELD = "config field data.label"


class Task(NamedTuple):
    """What is told apart."""

    features: tuple[str, ...]  # that the label is made of; slashes lead into dictionaries
    kind: str  # class | number | attributes
    names: tuple[str, ...] = ()  # of the classes, or of the attributes

    def raw(self, numbers: np.ndarray) -> np.ndarray:
        """One whole number [N] for the label of what the features [N, features] are. Of attributes the first is worth most."""
        if self.kind != "attributes":
            return numbers[:, 0]
        return (numbers != 0) @ (1 << np.arange(len(self.features))[::-1])

    def name(self, raw: int) -> str:
        if self.kind == "class":
            return self.names[raw]
        if self.kind == "number":
            return str(raw)
        last = len(self.names) - 1
        return ", ".join(
            name if raw >> (last - i) & 1 else f"not {name}" for i, name in enumerate(self.names)
        )


def find(features: Mapping[str, Any], label: str) -> Task:
    """The task that config field data.label names. Raises UserError, with what there is, if it names none.

    label: a feature, wherever it lies and in whichever case, or attributes joined by commas; '' for the feature `label`.
    """
    there = dict(_leaves(features))
    wanted = [part.strip() for part in (label or OWN).split(",")]
    found = [_resolve(name, label, there) for name in wanted]
    if len(found) == 1 and there[found[0]].kind != "attributes":
        return there[found[0]]
    for name in found:
        if there[name].kind != "attributes":
            raise UserError(
                f"{_FIELD} is {label!r}: of several features each must be yes or no, but {name} is a {there[name].kind}"
            )
    if len(set(found)) < len(found) or len(found) > _MOST:
        raise UserError(
            f"{_FIELD} is {label!r}: it must name at most {_MOST} attributes, none twice"
        )
    return Task(tuple(found), "attributes", tuple(name.rsplit("/", 1)[-1] for name in found))


def labels(
    raw: Mapping[str, np.ndarray], task: Task, least: int, where: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """({split: labels [N] int32, -1 where there is none}, names of the classes) of {split: raw [N]}.

    The classes of a class label are all it has; of numbers and attributes those in train, in the order of their numbers. What is below 0 is
    not known. Where least is 0, a combination of attributes that train lacks, or a number that another split has and train lacks, is
    an error; else such examples are left out with the other rare ones. Raises UserError for it.
    """
    if task.kind == "class":
        for split, values in raw.items():
            if len(values) and values.max() >= len(task.names):
                raise UserError(
                    f"{where}: {split} has the {task.features[0]} {values.max()}, but only {len(task.names)} are named"
                )
        return {
            split: np.maximum(values, -1).astype(np.int32) for split, values in raw.items()
        }, task.names
    known = np.unique(raw["train"][raw["train"] >= 0])
    wanted = (
        np.arange(1 << len(task.names))
        if task.kind == "attributes"
        else np.unique(np.concatenate(list(raw.values())))
    )
    absent = np.setdiff1d(wanted[wanted >= 0], known)
    if not least and len(absent):
        what = (
            task.name(int(absent[0]))
            if task.kind == "attributes"
            else f"{task.features[0]} {absent[0]}"
        )
        raise UserError(
            f"{where}: train has no image of {what!r}, and of {len(absent)} such in all: leave them out with data.min_per_class=1"
            + (", or set data.own_splits=False" if task.kind == "number" else "")
        )
    numbered = {}
    for split, values in raw.items():
        place = np.searchsorted(known, values)
        is_known = (
            known[np.minimum(place, len(known) - 1)] == values
            if len(known)
            else np.zeros(len(values), bool)
        )
        numbered[split] = np.where(is_known, place, -1).astype(np.int32)
    return numbered, tuple(task.name(int(value)) for value in known)


def _leaves(features: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Task]]:
    """(name, the task that it alone would be) of the features that can be a label."""
    import tensorflow_datasets as tfds

    for name, feature in sorted(features.items()):  # which come in another order in every process
        whole = prefix + name
        if isinstance(feature, tfds.features.FeaturesDict):
            yield from _leaves(feature, f"{whole}/")
        elif isinstance(feature, tfds.features.ClassLabel) and feature.num_classes:
            yield whole, Task((whole,), "class", tuple(feature.names))
        elif isinstance(feature, tfds.features.Tensor) and feature.shape == ():
            if feature.np_dtype == np.bool_:
                yield whole, Task((whole,), "attributes", (name,))
            elif np.issubdtype(feature.np_dtype, np.integer):
                yield whole, Task((whole,), "number")


def _resolve(name: str, label: str, there: Mapping[str, Task]) -> str:
    def last(feature: str) -> str:
        return feature.rsplit("/", 1)[-1]

    readings = (
        lambda f: f == name,
        lambda f: last(f) == name,
        lambda f: f.lower() == name.lower(),
        lambda f: last(f).lower() == name.lower(),
    )
    for fits in readings:
        if matches := [feature for feature in there if fits(feature)]:
            if len(matches) > 1:
                raise UserError(
                    f"{_FIELD} is {label!r}: {name!r} may be {' or '.join(matches)}: write one of these"
                )
            return matches[0]
    raise UserError(
        f"{_FIELD} is {label!r}: the data set has no {name!r} that can be a label ({_nearest(name, [last(f) for f in there])})"
    )


def _nearest(name: str, valid: Sequence[str]) -> str:
    small = {feature.lower(): feature for feature in valid}
    near = [small[match] for match in difflib.get_close_matches(name.lower(), small, n=2)]
    near += [
        feature
        for lower, feature in small.items()
        if name and (name.lower() in lower or lower in name.lower()) and feature not in near
    ]
    return f"did you mean {' or '.join(near)}?" if near else f"valid: {', '.join(valid) or 'none'}"
