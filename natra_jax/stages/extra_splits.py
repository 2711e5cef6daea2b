"""Tasks extra_splits/…: folders of images that classifiers are tested on too.

They are of the same classes as the data, as ImageNet-Sketch is beside ImageNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from etils import epath

from natra_jax.data import Decoded, Split, contents, folder
from natra_jax.data.decoding import Preprocess
from natra_jax.stages import data
from natra_jax.stages.context import Context
from natra_jax.stages.task import Plan, Task
from natra_jax.types import UserError

NAME = "extra_splits"
_FIELD = "eval.extra_splits"


def tasks(plan: Plan) -> list[Task]:
    """Declare a task for each folder that the experiment names."""
    return [
        Task(
            task_name(name),
            data.NAME,
            partial(run, name=name, path=path),
            {_FIELD: path, "files": identity(path, plan.inputs.digest)},
            (data.NAME,),
        )
        for name, path in named(plan.config.eval.extra_splits).items()
    ]


def run(context: Context, directory: epath.Path, name: str, path: str) -> None:
    """Write the split of a folder into directory.

    Args:
      context: the run.
      directory: of the task.
      name: of the split.
      path: of the folder.
    """
    info = data.info(context)
    listing = folder.list_classes(Path(path).expanduser(), info.classes)
    size, _, channels = info.image_shape
    images = Decoded(listing.files, Preprocess(size, context.config.data.fit, channels))
    images.check()
    data.keep_split(context, directory, name, Split(images, listing.label))
    context.log(f"{NAME}: {name} {len(images)} images, {path}")


def task_name(split: str) -> str:
    """Return the name of the task that writes a split."""
    return f"{NAME}/{split}"


def split(context: Context, name: str) -> Split:
    """Open a split that its task wrote."""
    return data.split(context, name, task_name(name))


def named(entries: Sequence[str]) -> dict[str, str]:
    """Return {'test_sketch': path} of entries 'sketch=path'.

    Raises UserError for another form of entry, for a name that the data have, and for one that
    comes twice.
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, path = entry.partition("=")
        if not (equals and path and name.isidentifier()) or f"test_{name}" in found:
            raise UserError(
                f"config field {_FIELD} has {entry!r}: it must be name=folder, the name of "
                "letters, digits and _, none twice"
            )
        if name in ("iid", "shift"):
            raise UserError(
                f"config field {_FIELD} has {entry!r}: the data have a split test_{name} of "
                "their own: choose another name"
            )
        found[f"test_{name}"] = path
    return found


def identity(path: str, digest: contents.Digest = contents.digest) -> str:
    """Return the digest of the names and contents of a folder's files, which tells it apart.

    digest: how the content of files is told apart.
    """
    return digest(folder.directory(path, _FIELD), folder.listed(path, _FIELD))
