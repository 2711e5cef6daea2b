"""Stage data: the source's splits as arrays on disk, every example at its index."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from etils import epath

from natra_jax.data import SOURCES, Split, batches
from natra_jax.stages.context import Context, open_array, save_array
from natra_jax.types import Batch, UserError


class Facts(NamedTuple):
    """What the later stages need to know of the data without reading it."""

    num_classes: int
    image_shape: tuple[int, int, int]  # [H, W, C]
    splits: tuple[str, ...]
    rendered: tuple[str, ...]  # the splits whose true variations are there


def run(context: Context, directory: epath.Path) -> None:
    settings = context.config.data.to_dict()
    source = SOURCES[settings.pop("name")](**settings)
    for name, split in source.splits.items():
        save_array(directory / f"{name}_image.npy", split.image)
        save_array(directory / f"{name}_label.npy", split.label)
    for name, views in source.renderings.items():
        save_array(directory / f"{name}_renderings.npy", views)
    save_array(directory / "wild_image.npy", source.wild.image)
    # a file apart: nothing but the judge may know the labels of the generator's domain
    save_array(directory / "judge_label.npy", source.wild.label)
    image_shape = source.splits["train"].image.shape[1:]
    facts = Facts(source.num_classes, image_shape, tuple(source.splits), tuple(source.renderings))
    (directory / "facts.json").write_text(json.dumps(facts._asdict(), indent=1))
    for name, split in source.splits.items():
        counts = np.bincount(split.label, minlength=source.num_classes)
        context.say(f"data: {name} {len(split.label)} images of {source.num_classes} classes ({counts.min()} to {counts.max()} each)")


def facts(context: Context) -> Facts:
    read = json.loads((context.workdir / "data" / "facts.json").read_text())
    return Facts(read["num_classes"], tuple(read["image_shape"]), tuple(read["splits"]), tuple(read["rendered"]))


def split(context: Context, name: str) -> Split:
    """The named split, memory-mapped."""
    return Split(open_array(context, f"data/{name}_image.npy"), open_array(context, f"data/{name}_label.npy"))


def renderings(context: Context, name: str) -> np.ndarray:
    """True variations of the named split's examples, [N, V, H, W, C] uint8."""
    return open_array(context, f"data/{name}_renderings.npy")


def wild(context: Context) -> np.ndarray:
    """Unlabelled images of the generator's domain, [N, H, W, C] uint8."""
    return open_array(context, "data/wild_image.npy")


def domain_batches(context: Context, domain: str, batch_size: int, seed: int, field: str) -> Callable[[int], Batch]:
    """(step) -> {"image": [batch_size, H, W, C]} for what is fitted without labels.

    domain: 'marginal', the generator's; 'target', the train split; 'both', half of each batch from either, the odd one from the former.
    Raises UserError, naming the config field of batch_size, if there are fewer images.
    """
    images = {"marginal": wild(context), "target": split(context, "train").image}
    if domain != "both":
        return batches({"image": images[domain]}, batch_size, seed, field)
    half, least = batch_size // 2, min(map(len, images.values()))
    if not 0 < half <= batch_size - half <= least:
        raise UserError(f"config field {field} is {batch_size}, of which half are drawn from {least} images: it must be in 2..{2 * least}")
    shares = {"marginal": batch_size - half, "target": half}
    parts = [batches({"image": images[name]}, share, seed, field) for name, share in shares.items()]
    return lambda step: {"image": np.concatenate([part(step)["image"] for part in parts])}


def judge_split(context: Context) -> Split:
    """The same images with labels, for the independent judge alone."""
    return Split(wild(context), open_array(context, "data/judge_label.npy"))
