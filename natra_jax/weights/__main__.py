"""Print what a generator's checkpoint is, and convert it.

    python -m natra_jax.weights FILE [DEST] [--family=auto]

FILE: NVIDIA's .pkl (of PyTorch or TensorFlow), .pt, .pth, .bin, .npz, .safetensors, or a Hugging
Face folder. DEST: a new directory, which experiments name as --config.generator.weights=DEST;
without it nothing is written. Nothing that FILE says is run.
"""

from __future__ import annotations

from natra_jax import entry

if __name__ == "__main__":  # before the imports below, which take seconds
    raise SystemExit(entry.start("natra_jax.weights.__main__"))

import sys
from collections.abc import Sequence

from absl import flags
from etils import epath

from natra_jax import command
from natra_jax.types import UserError
from natra_jax.weights import converted
from natra_jax.weights.families import AUTO, FAMILIES
from natra_jax.weights.loading import find

_USAGE = "python -m natra_jax.weights FILE [DEST] [--family=auto]"


def main(argv: Sequence[str]) -> None:
    """Print what argv's FILE is and write DEST.

    Raises UserError for a flag, file or destination that cannot be used.
    """
    if command.wants_help(argv):
        command.show_help(__doc__, _flags)
        return
    chosen, paths = command.parse(argv, _flags)
    if not 1 <= len(paths) <= 2:
        raise UserError(f"{len(paths)} paths are given: {_USAGE}")
    command.devices()  # before anything is read
    loaded = find(paths[0], chosen.family)
    generator = loaded.generator
    behind = f", {generator.depth} layers deep" if generator.depth > generator.num_layers else ""
    described = {
        "family": f"{loaded.family} (generator {loaded.function})",
        "resolution": f"{generator.resolution} px",
        "layers": f"{generator.num_layers} with codes of {generator.code_dim} numbers{behind}",
        "classes": generator.label_dim or "none",
        "parameters": f"{converted.count(loaded.params):,}",
        "checksum": converted.checksum(loaded.params),
    }
    for name, value in described.items():
        command.say(f"{name:<12}{value}")
    for note in loaded.notes:
        command.say(f"{'note':<12}{note}")
    if len(paths) == 2:
        destination = epath.Path(paths[1]).expanduser()
        destination = destination.resolve() if "://" not in paths[1] else destination
        converted.save(destination, loaded, epath.Path(paths[0]).name)
        command.say(f"{'written':<12}{destination}: --config.generator.weights={destination}")


def run() -> None:
    """Run the command with its exit codes and one-line errors."""
    nothing = "interrupted: nothing was written"
    command.run(main, sys.argv, interrupted=nothing, directory="DEST", place="DEST")


def _flags(values: flags.FlagValues) -> None:
    families, help_ = [AUTO, *FAMILIES], "Of the checkpoint; auto recognises it."
    flags.DEFINE_enum("family", AUTO, families, help_, flag_values=values)
