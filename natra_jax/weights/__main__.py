"""Says what a generator's checkpoint is, and converts it.

    python -m natra_jax.weights FILE [DEST] [--family=auto]

FILE: NVIDIA's .pkl (of PyTorch or TensorFlow), .pt, .pth, .bin, .npz, .safetensors, or a Hugging Face folder. DEST: a new directory, which
experiments name as --config.generator.weights=DEST; without it nothing is written. Nothing that FILE says is run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import flags
from etils import epath

from natra_jax import command
from natra_jax.types import UserError
from natra_jax.weights import converted
from natra_jax.weights.families import AUTO, FAMILIES
from natra_jax.weights.loading import find


def parse_flags(argv: Sequence[str]) -> tuple[flags.FlagValues, list[str]]:
    """(flags, paths). Raises UserError for flags that are unknown or wrong, and for paths that are missing or too many."""
    values = flags.FlagValues()  # of this command alone: others have flags of the same names
    values.set_gnu_getopt()  # flags may stand behind paths
    flags.DEFINE_enum(
        "family",
        AUTO,
        [AUTO, *FAMILIES],
        "Of the checkpoint; auto recognises it.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "debug",
        False,
        "Show the traceback of errors that the user can put right, too.",
        flag_values=values,
    )
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
    try:
        paths = values(argv)[1:]
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error
    if not values.help and not 1 <= len(paths) <= 2:
        raise UserError(
            f"{len(paths)} paths are given: python -m natra_jax.weights FILE [DEST] [--family=auto]"
        )
    return values, paths


def main(argv: Sequence[str]) -> None:
    """Prints what argv's FILE is and writes DEST. Raises UserError for a flag, file or destination that cannot be used."""
    chosen, paths = parse_flags(argv)
    if chosen.help:
        print(f"{__doc__}\n{chosen.get_help()}")
        return
    loaded = find(paths[0], chosen.family)
    generator = loaded.generator
    behind = f", {generator.depth} layers deep" if generator.depth > generator.num_layers else ""
    facts = {
        "family": f"{loaded.family} (generator {loaded.function})",
        "resolution": f"{generator.resolution} px",
        "layers": f"{generator.num_layers} with codes of {generator.code_dim} numbers{behind}",
        "classes": generator.label_dim or "none",
        "parameters": f"{converted.count(loaded.params):,}",
        "checksum": converted.checksum(loaded.params),
    }
    for name, value in facts.items():
        print(f"{name:<12}{value}")
    for note in loaded.notes:
        print(f"{'note':<12}{note}")
    if len(paths) == 2:
        destination = epath.Path(paths[1]).expanduser()
        destination = destination.resolve() if "://" not in paths[1] else destination
        converted.save(destination, loaded, epath.Path(paths[0]).name)
        print(f"{'written':<12}{destination}: --config.generator.weights={destination}")


def run() -> None:
    """The entry point: exit codes and one-line errors around `main`."""
    command.run(
        lambda: main(sys.argv),
        sys.argv,
        place=lambda: "DEST",
        interrupted="interrupted: nothing was written",
        directory="DEST",
    )


if __name__ == "__main__":
    run()
