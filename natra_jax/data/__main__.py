"""Bring data sets to this machine, in the layout of TensorFlow Datasets.

    python -m natra_jax.data import NAME --source=DOWNLOADS --dest=DATA [--name=NAME]
    python -m natra_jax.data import tfds:NAME --dest=DATA

NAME: celeba, celeba_hq, cifar10, lsun, mnist, or folder (a folder of images for each class; --name
says what the data set is called). --source holds the files as their publisher has them. tfds:NAME:
any data set of TensorFlow Datasets, which downloads it; it needs TensorFlow, and nothing else does.
An import that was interrupted is continued by the same command. Experiments name what was imported
as --config.data.name=tfds:NAME --config.data.path=DATA.
"""

from __future__ import annotations

from natra_jax import entry

if __name__ == "__main__":  # before the imports below, which take seconds
    raise SystemExit(entry.start("natra_jax.data.__main__"))

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from natra_jax import command
from natra_jax.data import PREFIX, importing
from natra_jax.data.importing import downloaded
from natra_jax.types import UserError

_USAGE = "python -m natra_jax.data import NAME --source=DOWNLOADS --dest=DATA"


def main(argv: Sequence[str]) -> None:
    """Run the command that argv names.

    Raises UserError for one that is not known, and for what the command cannot do.
    """
    name = next((argument for argument in argv[1:] if not argument.startswith("-")), "")
    if command.wants_help(argv):
        command.show_help(__doc__, _import_flags)
        return
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        raise UserError(f"{name or 'nothing'}: is no command, of which there are {known}: {_USAGE}")
    others = list(argv[1:])
    others.remove(name)
    COMMANDS[name]([name, *others])


def import_(argv: Sequence[str]) -> None:
    """Import the data set that argv ('import', NAME, flags) names, and print what there is then.

    Raises UserError for a flag, name, source or destination that cannot be used.
    """
    values, names = command.parse(argv, _import_flags)
    if len(names) != 1:
        raise UserError(f"{len(names)} data sets are named, not one: {_USAGE}")
    kind = names[0]
    if kind not in importing.IMPORTERS and not kind.startswith(PREFIX):
        known = ", ".join(importing.IMPORTERS)
        raise UserError(f"{kind}: is none of {known}, or {PREFIX}NAME: {_USAGE}")
    if not values.dest:
        raise UserError(f"--dest=DATA is missing: name a directory of this machine's: {_USAGE}")
    if "://" in values.dest:
        raise UserError(f"--dest={values.dest}: name a directory of this machine's: {_USAGE}")
    dest = Path(values.dest).expanduser().resolve()
    if kind.startswith(PREFIX):
        name = kind.removeprefix(PREFIX)
        if values.source is not None or values.name is not None:
            raise UserError(
                f"--source, --name: {kind} takes neither: it is downloaded, and called what it is "
                "called"
            )
        written = downloaded.prepare(name, dest)
    else:
        name = kind if values.name is None else values.name
        if kind == "folder" and not values.name:
            raise UserError(
                "--name=NAME is missing: say what the data set of this folder is called"
            )
        if not values.source:
            raise UserError(
                f"--source=DOWNLOADS is missing: say where the files of {kind} are: {_USAGE}"
            )
        written = importing.from_files(kind, Path(values.source).expanduser(), dest, name)
    counts = ", ".join(f"{split} {count}" for split, count in written.counts.items())
    skipped = f", {written.skipped} skipped (skipped.txt)" if written.skipped else ""
    already = "" if written.fresh else "is there already, of the same source: "
    config = f"--config.data.name={PREFIX}{name} --config.data.path={dest}"
    command.say(f"{name}: {already}{counts} images{skipped} in {written.directory}: {config}")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {"import": import_}


def run() -> None:
    """Run the command with its exit codes and one-line errors."""
    continued = "interrupted: the same command continues"
    command.run(main, sys.argv, interrupted=continued, directory="--dest")


def _import_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "source", None, "Directory (or archive) with the publisher's files.", flag_values=values
    )
    flags.DEFINE_string(
        "dest",
        None,
        "Directory of all data sets; this one becomes DEST/NAME.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "name", None, "What to call the data set, if not as the format.", flag_values=values
    )
