"""The speeds that matter here, side by side in one run, as ratios.

    python -m natra_jax.speed [attack] [training] [encoding] [upsampling] [loading] [waiting] [stylegan2] [stylegan2_gradient]

All of them where none is named. The last two also measure a PyTorch module of the same architecture where PyTorch is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import jax

from natra_jax import command
from natra_jax.speed.parts import PARTS
from natra_jax.speed.timing import measure
from natra_jax.types import UserError


def main(names: Sequence[str]) -> None:
    """Prints the named parts. Raises UserError for a name that is none."""
    if command.HELP & set(names):
        print(__doc__)
        return
    for name in names:
        if name not in PARTS:
            raise UserError(
                f"there is no part {name!r}: python -m natra_jax.speed [{'] ['.join(PARTS)}]"
            )
    device = jax.devices()[0]
    print(
        f"{device.platform} ({device.device_kind}), JAX {jax.__version__}, medians of alternated runs"
    )
    for name in names or PARTS:
        title, candidates = PARTS[name]
        seconds = measure(candidates())
        first = next(iter(seconds.values()))
        print(f"\n{title}")
        for candidate, value in seconds.items():
            print(
                f"  {candidate:42} {1e3 * value:9.1f} ms   {value / first:7.3f} of the first",
                flush=True,
            )


def run() -> None:
    """The entry point: exit codes and one-line errors around `main`."""
    command.run(
        lambda: main(sys.argv[1:]),
        sys.argv,
        place=lambda: "standard output",
        interrupted="interrupted",
    )


if __name__ == "__main__":
    run()
