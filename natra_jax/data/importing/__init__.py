"""Published data sets, brought into the layout of TensorFlow Datasets, without TensorFlow.

    python -m natra_jax.data import celeba --source=DOWNLOADS --dest=DATA

One module for each publisher's format finds and checks the files (`opened(source)` -> DataSet);
`layout` writes what they hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from natra_jax.data.importing import celeba, celeba_hq, cifar10, folder, layout, lsun, mnist
from natra_jax.data.importing.layout import Written
from natra_jax.types import UserError

IMPORTERS = {
    "celeba": celeba.opened,
    "celeba_hq": celeba_hq.opened,
    "cifar10": cifar10.opened,
    "folder": folder.opened,
    "lsun": lsun.opened,
    "mnist": mnist.opened,
}


def is_name(text: str) -> bool:
    """Tell whether a data set may be called so."""
    return re.fullmatch(r"[a-z]\w*", text) is not None and text == text.lower()


def from_files(
    kind: str, source: Path, dest: Path, name: str, log: Callable[[str], None] = print
) -> Written:
    """Import a data set from its publisher's files.

    Args:
        kind: of the files, one of IMPORTERS.
        source: the directory or the archive that they lie in.
        dest: the directory of all data sets; this one becomes dest/name.
        name: what the data set is to be called.
        log: takes lines of progress and notes.

    Raises:
        UserError: something is missing in the source, disagrees or is damaged, or the destination
            cannot be used.
    """
    if not is_name(name):
        raise UserError(
            f"--name={name}: is no name for a data set: "
            "use lower-case letters, digits and _, with a letter in front"
        )
    with IMPORTERS[kind](source) as data:
        for note in data.notes:
            log(f"{name}: {note}")
        return layout.write(data, name, dest, log)
