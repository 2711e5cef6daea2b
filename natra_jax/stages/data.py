"""Stage data: the source's splits on disk, every example at its index: as arrays, or as a list of files where these would be too large."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from etils import epath

from natra_jax.data import (
    ARRAYS,
    SOURCES,
    UNLABELLED,
    Concat,
    Decoded,
    Images,
    Source,
    Split,
    Subset,
    batches,
    folder,
    prepared,
    reopen,
)
from natra_jax.data.splitting import at_most
from natra_jax.evaluation.records import write_records
from natra_jax.stages.context import Context, open_array, save_array
from natra_jax.types import Batch, Record, UserError
from natra_jax.workdir import local

READING = (
    "data.threads",
    "data.workers",
    "data.decoded_gigabytes",
)  # fields that say how data are read, not what they are
_CHUNK = 512  # images that are decoded before they are written


class DatasetInfo(NamedTuple):
    """What the later stages need to know of the data without reading it."""

    classes: tuple[str, ...]  # names of the labels
    image_shape: tuple[int, int, int]  # [H, W, C]
    splits: tuple[str, ...]
    rendered: tuple[str, ...]  # the splits whose true variations are there
    covered: tuple[int, ...] | None  # the labels of what the generator makes; None for all
    counts: dict[str, list[int]]  # split -> images of each label
    unlabelled: int  # images

    @property
    def num_classes(self) -> int:
        return len(self.classes)


def run(context: Context, directory: epath.Path) -> None:
    source = context.source or _load(context.config.data)
    covered = _covered(context.config.data.covers, source.classes)
    for name, split in source.splits.items():
        keep_split(context, directory, name, split)
    for name, views in source.renderings.items():
        save_array(directory / f"{name}_renderings.npy", views)
    if source.unlabelled is not None:
        keep_images(context, directory, "unlabelled_image", source.unlabelled)
    if source.domain is not None:
        keep_images(context, directory, "wild_image", source.domain.image)
        # a file apart: nothing but the judge may know the labels of the generator's domain
        save_array(directory / "judge_label.npy", source.domain.label)
    counts = {
        name: np.bincount(split.label, minlength=source.num_classes).tolist()
        for name, split in source.splits.items()
    }
    unlabelled = 0 if source.unlabelled is None else len(source.unlabelled)
    image_shape = tuple(source.splits["train"].image.shape[1:])
    found = DatasetInfo(
        source.classes,
        image_shape,
        tuple(source.splits),
        tuple(source.renderings),
        covered,
        counts,
        unlabelled,
    )
    (directory / "facts.json").write_text(json.dumps(found._asdict(), indent=1))
    _say(context, found)
    fingerprint = context.fingerprints[directory.name]
    shares = {
        name: (max(of_split) / sum(of_split), sum(of_split)) for name, of_split in counts.items()
    }
    records = [
        Record("data", 0, name, "majority_share", share, count, None, None, fingerprint)
        for name, (share, count) in shares.items()
    ]
    write_records(directory / "records.jsonl", records)


def identity(c, source: Source | None = None) -> dict[str, str]:
    """By which data are known again, beside their config section: files by their names and sizes, arrays by what is in them."""
    if source is not None:
        return {"arrays": _digest(source)}
    prefix, _, name = c.name.partition(":")
    if prefix == "folder":
        unlabelled = folder.listed(c.unlabelled, "data.unlabelled") if c.unlabelled else []
        return {
            "files": hashlib.sha256(
                json.dumps([folder.listed(c.path), unlabelled]).encode()
            ).hexdigest()
        }
    return {"card": prepared.card(c.path, name)} if name else {}


def info(context: Context) -> DatasetInfo:
    read = json.loads((context.workdir / "data" / "facts.json").read_text())
    tuples = {name: tuple(read[name]) for name in ("classes", "image_shape", "splits", "rendered")}
    covered = None if read["covered"] is None else tuple(read["covered"])
    return DatasetInfo(
        **tuples, covered=covered, counts=read["counts"], unlabelled=read["unlabelled"]
    )


def split(context: Context, name: str, piece: str = "data") -> Split:
    """The named split of the piece's, its images memory-mapped, or decoded where they are asked for."""
    return Split(
        _open(context, f"{name}_image", piece), open_array(context, f"{piece}/{name}_label.npy")
    )


def renderings(context: Context, name: str) -> np.ndarray:
    """True variations of the named split's examples, [N, V, H, W, C] uint8."""
    return open_array(context, f"data/{name}_renderings.npy")


def training(context: Context) -> Split:
    """What classifiers are trained on: the train split and, behind it, the images without labels, labelled UNLABELLED."""
    train = split(context, "train")
    if not (count := info(context).unlabelled):
        return train
    label = np.concatenate([train.label, np.full(count, UNLABELLED, np.int32)])
    return Split(Concat([train.image, _open(context, "unlabelled_image")]), label)


def varied(context: Context, name: str) -> Split:
    """The examples of a split that the generator covers, at most eval.examples of them, drawn by data.seed, in order."""
    whole = split(context, name)
    index = covered(context, whole.label)
    if 0 < context.config.eval.examples < len(index):
        drawn = np.random.default_rng(context.config.data.seed).permutation(index)
        index = np.sort(drawn[: context.config.eval.examples])
    return (
        whole
        if len(index) == len(whole.label)
        else Split(Subset(whole.image, index), np.asarray(whole.label[index]))
    )


def covered(context: Context, label: np.ndarray) -> np.ndarray:
    """Indices of the labels of what the generator makes."""
    classes = info(context).covered
    return np.arange(len(label)) if classes is None else np.flatnonzero(np.isin(label, classes))


def domain_images(context: Context) -> Images:
    """Unlabelled images of the generator's domain, [N, H, W, C] uint8: where the source has none of its own, all that are trained on."""
    if _is_kept(context, "wild_image"):
        return _open(context, "wild_image")
    target, unlabelled = _target(context), info(context).unlabelled
    return Concat([target, _open(context, "unlabelled_image")]) if unlabelled else target


def domain_batches(
    context: Context, domain: str, batch_size: int, seed: int, field: str
) -> Callable[[int], Batch]:
    """(step) -> {"image": [batch_size, H, W, C]} for what is fitted without labels.

    domain: 'marginal', the generator's; 'target', the train split; 'both', half of each batch from either, the odd one from the former.
    Raises UserError, naming the config field of batch_size, if there are fewer images.
    """
    images = {"marginal": domain_images(context), "target": _target(context)}
    if domain != "both":
        return batches({"image": images[domain]}, batch_size, seed, field)
    half, least = batch_size // 2, min(map(len, images.values()))
    if not 0 < half <= batch_size - half <= least:
        raise UserError(
            f"config field {field} is {batch_size}, of which half are drawn from {least} images: it must be in 2..{2 * least}"
        )
    shares = {"marginal": batch_size - half, "target": half}
    parts = [batches({"image": images[name]}, share, seed, field) for name, share in shares.items()]
    return lambda step: {"image": np.concatenate([part(step)["image"] for part in parts])}


def judge_split(context: Context) -> Split:
    """What the judge alone is trained on: images of the generator's domain with labels where the source has such, else the train split."""
    if not _is_kept(context, "wild_image"):
        return split(context, "train")
    return Split(domain_images(context), open_array(context, "data/judge_label.npy"))


def _load(c) -> Source:
    settings = c.to_dict()
    name = settings.pop("name")
    if name == ARRAYS:
        raise UserError(
            f"config field data.name is {ARRAYS!r}: hand the arrays to natra_jax.pipeline.run (source=...)"
        )
    prefix, _, name = name.partition(":")
    source = SOURCES[prefix](name=name, **settings)
    if not c.max_per_class:
        return source
    return source._replace(
        splits={
            split: at_most(whole, c.max_per_class, c.seed) for split, whole in source.splits.items()
        }
    )


def _digest(source: Source) -> str:
    digest = hashlib.sha256(json.dumps(source.classes).encode())
    images = {name: split.image for name, split in source.splits.items()}
    images |= {} if source.unlabelled is None else {"unlabelled": source.unlabelled}
    for name, split in source.splits.items():
        digest.update(name.encode() + np.ascontiguousarray(split.label).tobytes())
    for name, array in images.items():
        digest.update(f"{name} {tuple(array.shape)}".encode())
        for i in range(0, len(array), _CHUNK):
            digest.update(np.ascontiguousarray(array[i : i + _CHUNK]).tobytes())
    return digest.hexdigest()


def _covered(names: tuple[str, ...], classes: tuple[str, ...]) -> tuple[int, ...] | None:
    for name in names:
        if name not in classes:
            some = ", ".join(classes[:5]) + ", ..." * (len(classes) > 5)
            raise UserError(
                f"config field data.covers names {name!r}, which is no class of the data ({some})"
            )
    return tuple(classes.index(name) for name in names) or None


def _target(context: Context) -> Images:
    """The training images that the generator covers."""
    train = split(context, "train")
    index = covered(context, train.label)
    return train.image if len(index) == len(train.label) else Subset(train.image, index)


def keep_split(context: Context, directory: epath.Path, name: str, split: Split) -> None:
    """Writes what `split` reads."""
    keep_images(context, directory, f"{name}_image", split.image)
    save_array(directory / f"{name}_label.npy", np.asarray(split.label, np.int32))


def keep_images(context: Context, directory: epath.Path, name: str, images: Images) -> None:
    """Writes an array, or the description of files too many to be decoded all at once."""
    size = int(np.prod(images.shape))
    if isinstance(images, Decoded) and size > context.config.data.decoded_gigabytes * 1e9:
        (directory / f"{name}.json").write_text(json.dumps(images.description()))
        return
    if not isinstance(images, Decoded) or (on_disk := local(directory / f"{name}.npy")) is None:
        save_array(directory / f"{name}.npy", images[:])
        return
    from tqdm import tqdm

    kept = np.lib.format.open_memmap(on_disk, "w+", images.dtype, images.shape)
    with tqdm(
        total=len(images),
        desc=f"data {name}",
        unit="image",
        disable=not sys.stderr.isatty(),
        leave=False,
    ) as bar:
        for i in range(0, len(images), _CHUNK):
            chunk = images[i : i + _CHUNK]
            kept[i : i + len(chunk)] = chunk
            bar.update(len(chunk))
    kept.flush()


def _is_kept(context: Context, name: str) -> bool:
    return any(
        (context.workdir / "data" / f"{name}.{suffix}").exists() for suffix in ("npy", "json")
    )


def _open(context: Context, name: str, piece: str = "data") -> Images:
    path = context.workdir / piece / f"{name}.json"
    if not path.exists():
        return open_array(context, f"{piece}/{name}.npy")
    try:
        return reopen(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: cannot be read as a list of images ({error}): delete {path.parent} and run again"
        ) from error


def _say(context: Context, found: DatasetInfo) -> None:
    for name, of_split in found.counts.items():
        total, most = sum(of_split), int(np.argmax(of_split))
        each = f"{min(of_split)} to {max(of_split)} each"
        answer = f"always {found.classes[most]!r} would be right on {of_split[most] / total:.1%}"
        context.log(
            f"data: {name} {total} images of {found.num_classes} classes ({each}; {answer})"
        )
    if found.unlabelled:
        context.log(f"data: {found.unlabelled} images without labels")
