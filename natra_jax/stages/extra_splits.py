"""Task extra_splits: folders of images that classifiers are tested on too.

They are of the same classes as the data, as ImageNet-Sketch is beside ImageNet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
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
    """Declare the task extra_splits, where the experiment names folders."""
    folders = plan.config.eval.extra_splits
    if not folders:
        return []
    fields = plan.fields(_FIELD) | identity(folders, plan.inputs.digest)
    return [Task(NAME, data.NAME, run, fields, (data.NAME,))]


def run(context: Context, directory: epath.Path) -> None:
    """Write a split for each folder into directory."""
    c, info = context.config, data.info(context)
    for name, path in named(c.eval.extra_splits).items():
        listing = folder.list_classes(Path(path).expanduser(), info.classes)
        size, _, channels = info.image_shape
        images = Decoded(listing.files, Preprocess(size, c.data.fit, channels))
        images.check()
        data.keep_split(context, directory, name, Split(images, listing.label))
        context.log(f"{NAME}: {name} {len(images)} images, {path}")


def names(context: Context) -> list[str]:
    """Return the names of the splits."""
    return list(named(context.config.eval.extra_splits))


def split(context: Context, name: str) -> Split:
    """Open a split that the task wrote."""
    return data.split(context, name, NAME)


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


def identity(entries: Sequence[str], digest: contents.Digest = contents.digest) -> dict[str, str]:
    """Return the hash of the names and contents of the folders' files, which tells them apart.

    digest: how the content of files is told apart.
    """
    digests = {
        name: digest(folder.directory(path, _FIELD), folder.listed(path, _FIELD))
        for name, path in named(entries).items()
    }
    return {"files": hashlib.sha256(json.dumps(digests).encode()).hexdigest()}
