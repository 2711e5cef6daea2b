"""What a trained classifier says of images: a line for each with its path, class and probability, separated by tabs.

    python -m natra_jax.predict --workdir=DIR [--method=natra] [--seed=0] [--resize] IMAGES...

IMAGES are JPEG, PNG, WebP, PGM, PPM or BMP files. They are turned as their EXIF orientation says, and brought to the size that was trained
on as the training images were; where these all came in one size, images have to be of it unless --resize is given.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from natra_jax import command
from natra_jax.types import UserError

_BATCH = 64  # images in memory at a time


def parse_flags(argv: Sequence[str]) -> tuple[flags.FlagValues, list[str]]:
    """(flags, image paths). Raises UserError for flags that are unknown, wrong or missing."""
    values = flags.FlagValues()  # of this command alone: others have flags of the same names
    values.set_gnu_getopt()  # flags may stand behind images
    flags.DEFINE_string(
        "workdir", None, "Directory or bucket of the experiment.", flag_values=values
    )
    flags.DEFINE_string(
        "method", "natra", "The method that the classifier was trained by.", flag_values=values
    )
    flags.DEFINE_integer(
        "seed", 0, "The seed that it was trained from.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_bool(
        "resize",
        False,
        "Scale images of another size, whatever their proportions.",
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
    if not values.help:
        if not values.workdir:
            raise UserError("--workdir=DIR is missing: name the directory of the experiment")
        if not paths:
            raise UserError(
                "no image is named: python -m natra_jax.predict --workdir=DIR IMAGES..."
            )
    return values, paths


def main(argv: Sequence[str]) -> None:
    """Prints a line for each image that argv names. Raises UserError for a flag, workdir or image that cannot be used."""
    chosen, paths = parse_flags(argv)
    if chosen.help:
        print(f"{__doc__}\n{chosen.get_help()}")
        return

    import jax

    from natra_jax.stages import load_classifier

    classifier = load_classifier.load(chosen.workdir, chosen.method, chosen.seed)
    fit = "stretch" if chosen.resize else classifier.fit
    probabilities = jax.jit(lambda logits_fn, images: jax.nn.softmax(logits_fn(images)))
    for i in range(0, len(paths), _BATCH):
        names = paths[i : i + _BATCH]
        images = np.stack([read_image(name, classifier.image_shape, fit) for name in names])
        for name, of_image in zip(
            names, np.asarray(probabilities(classifier.logits_fn, images)), strict=True
        ):
            print(
                f"{name}\t{classifier.classes[of_image.argmax()]}\t{of_image.max():.4f}", flush=True
            )


def read_image(path: str, image_shape: tuple[int, int, int], fit: str) -> np.ndarray:
    """The image file as float32 [H, W, C] in [-1, 1], in RGB, or in grey for one channel.

    fit: of natra_jax.data.FITS, how an image of another size is brought to H = W; '' takes none. Raises UserError if it cannot be read, or
    is of another size and not to be scaled.
    """
    from natra_jax.data import decoding, to_float

    (height, width, channels), file = image_shape, Path(path).expanduser()
    size = decoding.size(file, path)
    if size != (width, height) and not fit:
        found = f"{size[1]}x{size[0]}"
        raise UserError(
            f"{path}: is {found} pixels, and the classifier was trained on {height}x{width}: give --resize to scale it"
        )
    return to_float(decoding.decode(file, decoding.Preprocess(height, fit, channels), path))


def run() -> None:
    """The entry point: exit codes and one-line errors around `main`."""
    command.run(
        lambda: main(sys.argv), sys.argv, place=lambda: "standard output", interrupted="interrupted"
    )


if __name__ == "__main__":
    run()
