"""Stage data: the source's splits on disk, every example at its index.

Images are kept as arrays, or as a list of files where the arrays would be too large.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from natra_jax import interruption, json_files
from natra_jax.data import (
    UNLABELLED,
    Concat,
    Decoded,
    Images,
    Source,
    Split,
    Subset,
    batches,
    reopen,
    source_of,
)
from natra_jax.data.splitting import at_most
from natra_jax.evaluation.records import write_records
from natra_jax.json_files import Count, Size
from natra_jax.printable import reason
from natra_jax.stages.context import Config, Context, open_array, save_array, save_rows
from natra_jax.stages.task import Plan, Task
from natra_jax.types import Batch, Record, UserError

NAME = "data"
_CHUNK = 512  # images that are decoded before they are written
_INFO = "facts.json"
_ADVICE = "run the stage data again"
_DOMAIN, _DOMAIN_LABEL, _DOMAIN_OBJECT = "wild_image", "judge_label", "wild_object"
_UNLABELLED = "unlabelled_image"


class DatasetInfo(NamedTuple):
    """The numbers and names of the data that later stages need without reading the data."""

    classes: tuple[str, ...]  # names of the labels
    image_shape: tuple[Size, Size, Size]  # [H, W, C]
    splits: tuple[str, ...]
    rendered: tuple[str, ...]  # the splits whose true variations are there
    covered: tuple[Count, ...] | None  # labels of what the generator makes; None for all
    counts: dict[str, list[Count]]  # split -> images of each label
    unlabelled: Count  # images

    @property
    def num_classes(self) -> int:
        """The number of labels."""
        return len(self.classes)


def tasks(plan: Plan) -> list[Task]:
    """Declare the task data."""
    fields = plan.fields_without(NAME, "data.held_out") | dict(plan.identity)
    return [Task(NAME, NAME, run, fields)]


def run(context: Context, directory: epath.Path) -> None:
    """Write the source's splits, and a DatasetInfo of them, into directory."""
    source = context.source or _load(context.config.data)
    labels = _generated_labels(context.config.data.covers, source.classes)
    for name, split in source.splits.items():
        keep_split(context, directory, name, split)
    for name, views in source.renderings.items():
        save_array(directory / f"{name}_renderings.npy", views)
    if source.unlabelled is not None:
        keep_images(context, directory, _UNLABELLED, source.unlabelled)
    if source.domain is not None:
        keep_images(context, directory, _DOMAIN, source.domain.image)
        # a file apart: nothing but the judge may know the labels of the generator's domain
        save_array(directory / f"{_DOMAIN_LABEL}.npy", source.domain.label)
    if source.domain_object is not None:
        save_array(directory / f"{_DOMAIN_OBJECT}.npy", source.domain_object)
    counts = {
        name: np.bincount(split.label, minlength=source.num_classes).tolist()
        for name, split in source.splits.items()
    }
    _, height, width, channels = source.splits["train"].image.shape
    found = DatasetInfo(
        classes=source.classes,
        image_shape=(height, width, channels),
        splits=tuple(source.splits),
        rendered=tuple(source.renderings),
        covered=labels,
        counts=counts,
        unlabelled=0 if source.unlabelled is None else len(source.unlabelled),
    )
    (directory / _INFO).write_text(json.dumps(found._asdict(), indent=1))
    _log(context, found)
    records = _records(found, context.fingerprints[directory.name])
    write_records(directory / "records.jsonl", records)


def info(context: Context) -> DatasetInfo:
    """Read the DatasetInfo that the task data wrote.

    Raises UserError if it cannot be read, or contradicts itself.
    """
    path = context.workdir / NAME / _INFO
    # names of classes are those of folders, which may not be in UTF-8
    found = json_files.read(path, DatasetInfo, _ADVICE, loose=True)
    labels = range(len(found.classes))
    wrong = [
        ("classes", not found.classes),
        ("splits", "train" not in found.splits),
        ("rendered", not set(found.rendered) <= set(found.splits)),
        ("covered", not set(found.covered or ()) <= set(labels)),
        ("counts", found.counts.keys() != set(found.splits)),
        ("counts", any(len(count) != len(labels) for count in found.counts.values())),
        ("counts", not all(map(sum, found.counts.values()))),
    ]
    if field := next((field for field, is_wrong in wrong if is_wrong), None):
        raise UserError(f"{path}: {field} does not go with the other fields: {_ADVICE}")
    return found


def split(context: Context, name: str, task: str = NAME) -> Split:
    """Open a split that a task kept, its images memory-mapped or decoded as they are asked for.

    Raises UserError if it cannot be read, or is not as the DatasetInfo says.
    """
    found, path = info(context), f"{task}/{name}_label.npy"
    images, labels = _open(context, f"{name}_image", task), open_array(context, path)
    if images.shape != (len(images), *found.image_shape):
        raise UserError(
            f"{context.workdir / task / name}_image: its images are {list(images.shape[1:])}, "
            f"those of {_INFO} {list(found.image_shape)}: {_ADVICE}"
        )
    label_range = len(labels) and (labels.min() < 0 or labels.max() >= found.num_classes)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or label_range:
        raise UserError(
            f"{context.workdir / path}: has not one label for each of {len(images)} images, of "
            f"the {found.num_classes} classes in {_INFO}: {_ADVICE}"
        )
    return Split(images, labels)


def renderings(context: Context, name: str) -> np.ndarray:
    """Open the true variations of a split's examples, [N, V, H, W, C] uint8."""
    return open_array(context, f"{NAME}/{name}_renderings.npy")


def training(context: Context) -> Split:
    """Open the examples that classifiers are trained on.

    These are the train split and, behind it, the images without labels, with the label UNLABELLED.
    """
    train = split(context, "train")
    if not (count := info(context).unlabelled):
        return train
    label = np.concatenate([train.label, np.full(count, UNLABELLED, np.int32)])
    return Split(Concat([train.image, _open(context, _UNLABELLED)]), label)


def varied(context: Context, name: str) -> Split:
    """Open the examples of a split that are attacked and corrupted, in order.

    These are of classes that the generator makes, at most eval.examples, drawn by data.seed.
    """
    return _some(context, name, context.config.eval.examples)


def held_out(context: Context) -> Split:
    """Open the examples of val_iid that generator, encoder and shift are measured on, in order.

    These are of classes that the generator makes, at most data.held_out, drawn by data.seed.
    """
    return _some(context, "val_iid", context.config.data.held_out)


def _some(context: Context, name: str, most: int) -> Split:
    """Open at most `most` (0: all) examples of the split of classes that the generator makes."""
    whole = split(context, name)
    index = covered(context, whole.label)
    if 0 < most < len(index):
        drawn = np.random.default_rng(context.config.data.seed).permutation(index)
        index = np.sort(drawn[:most])
    if len(index) == len(whole.label):
        return whole
    return Split(Subset(whole.image, index), np.asarray(whole.label[index]))


def covered(context: Context, label: np.ndarray) -> np.ndarray:
    """Return the indices of the labels [N] of classes that the generator makes."""
    classes = info(context).covered
    return np.arange(len(label)) if classes is None else np.flatnonzero(np.isin(label, classes))


def target_images(context: Context) -> Images:
    """Open the training images of classes that the generator makes."""
    train = split(context, "train")
    index = covered(context, train.label)
    return train.image if len(index) == len(train.label) else Subset(train.image, index)


def has_domain(context: Context) -> bool:
    """Return whether the source has images of the generator's domain of its own."""
    directory = context.workdir / NAME
    return any((directory / f"{_DOMAIN}.{suffix}").exists() for suffix in ("npy", "json"))


def domain_images(context: Context) -> Images:
    """Open images of the generator's domain, [N, H, W, C] uint8, without labels.

    Where the source has none of its own, these are all images that classifiers are trained on.
    """
    if has_domain(context):
        return _open(context, _DOMAIN)
    target, unlabelled = target_images(context), info(context).unlabelled
    return Concat([target, _open(context, _UNLABELLED)]) if unlabelled else target


def domain_objects(context: Context) -> np.ndarray | None:
    """Open which of `domain_images` show the same object, [N]; None: the source does not say."""
    name = f"{NAME}/{_DOMAIN_OBJECT}.npy"
    if not (context.workdir / name).exists():
        return None
    return open_array(context, name, (len(domain_images(context)),))


def domain_batches(
    context: Context, domain: str, batch_size: int, seed: int, field: str
) -> Callable[[int], Batch]:
    """Return (step) -> {"image": [batch_size, H, W, C]} for what is fitted without labels.

    Args:
      context: the run.
      domain: 'marginal', the generator's; 'target', the train split; 'both', half of each batch
        from either, the odd one from the former.
      batch_size: images.
      seed: of their order.
      field: the config field of batch_size.

    Raises:
      UserError: naming the field, if there are fewer images.
    """
    images = {"marginal": domain_images(context), "target": target_images(context)}
    if domain != "both":
        return batches({"image": images[domain]}, batch_size, seed, field)
    half, least = batch_size // 2, min(map(len, images.values()))
    if not 0 < half <= batch_size - half <= least:
        raise UserError(
            f"config field {field} is {batch_size}, of which half are drawn from {least} images: "
            f"it must be in 2..{2 * least}"
        )
    shares = {"marginal": batch_size - half, "target": half}
    parts = [batches({"image": images[name]}, share, seed, field) for name, share in shares.items()]
    return lambda step: {"image": np.concatenate([part(step)["image"] for part in parts])}


def judge_split(context: Context) -> Split:
    """Open the examples that the judge alone is trained on.

    These are images of the generator's domain with labels where the source has such, else the
    train split.
    """
    if not has_domain(context):
        return split(context, "train")
    return Split(domain_images(context), open_array(context, f"{NAME}/{_DOMAIN_LABEL}.npy"))


def keep_split(context: Context, directory: epath.Path, name: str, split: Split) -> None:
    """Write images and labels so that `split` opens them.

    Args:
      context: the run.
      directory: of the task.
      name: of the split.
      split: images [N, H, W, C] uint8 and labels [N].
    """
    keep_images(context, directory, f"{name}_image", split.image)
    save_array(directory / f"{name}_label.npy", np.asarray(split.label, np.int32))


def keep_images(context: Context, directory: epath.Path, name: str, images: Images) -> None:
    """Write images as an array or, of files that are too many to keep decoded, a description.

    Args:
      context: the run.
      directory: of the task.
      name: of the file, without a suffix.
      images: [N, H, W, C] uint8.
    """
    size = int(np.prod(images.shape))
    if isinstance(images, Decoded) and size > context.config.data.decoded_gigabytes * 1e9:
        (directory / f"{name}.json").write_text(json.dumps(images.description()))
        return
    if not isinstance(images, Decoded):
        save_array(directory / f"{name}.npy", images[:])
        return
    save_rows(directory / f"{name}.npy", len(images), _decoded(images, name))


def _decoded(images: Decoded, name: str) -> Iterator[np.ndarray]:
    """Yield the images in chunks, with a bar on a terminal."""
    from tqdm import tqdm

    with tqdm(
        total=len(images),
        desc=f"data {name}",
        unit="image",
        disable=not sys.stderr.isatty(),
        leave=False,
    ) as bar:
        for i in range(0, len(images), _CHUNK):
            interruption.check()
            chunk = images[i : i + _CHUNK]
            yield chunk
            bar.update(len(chunk))


def _load(c: Config) -> Source:
    """Load the source that the config's section data names."""
    settings = {name: c[name] for name in c if name not in ("name", "held_out")}
    _, _, data_set = c.name.partition(":")
    source = source_of(c.name).load(name=data_set, **settings)
    if not c.max_per_class:
        return source
    fewer = {name: at_most(whole, c.max_per_class, c.seed) for name, whole in source.splits.items()}
    return source._replace(splits=fewer)


def _generated_labels(names: Sequence[str], classes: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return the labels of the classes that data.covers names; None where it names none.

    Raises UserError for a name that is no class.
    """
    for name in names:
        if name not in classes:
            some = ", ".join(classes[:5]) + ", ..." * (len(classes) > 5)
            raise UserError(
                f"config field data.covers names {name!r}, which is no class of the data ({some})"
            )
    return tuple(classes.index(name) for name in names) or None


def _open(context: Context, name: str, task: str = NAME) -> Images:
    """Open the images that `keep_images` wrote."""
    path = context.workdir / task / f"{name}.json"
    if not path.exists():
        return open_array(context, f"{task}/{name}.npy")
    most = json_files.MOST_OF_LISTS
    # names of files may not be in UTF-8
    description = json_files.read(path, dict[str, Any], _ADVICE, most=most, loose=True)
    try:
        return reopen(description)
    except ValueError as error:
        raise UserError(
            f"{path}: cannot be read as a list of images ({reason(error)}): {_ADVICE}"
        ) from error


def _records(found: DatasetInfo, fingerprint: str) -> list[Record]:
    """Return the share of each split's largest class, as records."""
    records = []
    for name, count in found.counts.items():
        total = sum(count)
        share = max(count) / total
        records.append(
            Record(NAME, 0, name, "majority_share", share, total, None, None, fingerprint)
        )
    return records


def _log(context: Context, found: DatasetInfo) -> None:
    """Log the size of each split and of its classes."""
    for name, count in found.counts.items():
        total, most = sum(count), int(np.argmax(count))
        sizes = f"{min(count)} to {max(count)} each"
        guess = f"always {found.classes[most]!r} would be right on {count[most] / total:.1%}"
        classes = f"{found.num_classes} classes ({sizes}; {guess})"
        context.log(f"data: {name} {total} images of {classes}")
    if found.unlabelled:
        context.log(f"data: {found.unlabelled} images without labels")
