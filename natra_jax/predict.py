"""Print the class of images by a trained classifier: path, class and probability, a line for each.

    python -m natra_jax.predict --workdir=DIR [--method=natra] [--seed=0] [--resize]
        [--factory=MODULE:FUNCTION] IMAGES...

IMAGES are JPEG, PNG, WebP, PGM, PPM, BMP, GIF, TIFF or AVIF files; of several images in one file
the first is taken. They are turned as their EXIF orientation says, and brought to the size that was
trained on as the training images were; where these all came in one size, images have to be of it
unless --resize is given. --factory is for classifiers of your own, the experiment's
classifier.factory: no module is imported because the work directory names it. Tabs separate what is
printed; a backslash in a path or class is doubled, and what is not printable is written as Python's
escape, such as \\t or \\n, so that a line is always an image's.
"""

from __future__ import annotations

from natra_jax import entry

if __name__ == "__main__":  # before the imports below, which take seconds
    raise SystemExit(entry.start("natra_jax.predict"))

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from natra_jax import command
from natra_jax.printable import column
from natra_jax.types import UserError

_BATCH = 64  # images in memory at a time


def main(argv: Sequence[str]) -> None:
    """Print a line for each image that argv names.

    Raises UserError for a flag, work directory or image that cannot be used.
    """
    if command.wants_help(argv):
        command.show_help(__doc__, _flags)
        return
    chosen, paths = parse_flags(argv)

    import jax

    from natra_jax.stages import load_classifier

    command.devices()  # before anything is read
    classifier = load_classifier.load(chosen.workdir, chosen.method, chosen.seed, chosen.factory)
    fit = "stretch" if chosen.resize else classifier.fit
    probabilities = jax.jit(lambda logits_fn, images: jax.nn.softmax(logits_fn(images)))
    for i in range(0, len(paths), _BATCH):
        names = paths[i : i + _BATCH]
        images = np.stack([read_image(name, classifier.image_shape, fit) for name in names])
        predicted = np.asarray(probabilities(classifier.logits_fn, images))
        for name, row in zip(names, predicted, strict=True):
            answer = name, str(classifier.classes[row.argmax()]), f"{row.max():.4f}"
            print("\t".join(map(column, answer)), flush=True)


def parse_flags(argv: Sequence[str]) -> tuple[flags.FlagValues, list[str]]:
    """Return (flags, paths of images). Raise UserError for flags that are wrong or missing."""
    values, paths = command.parse(argv, _flags)
    if not values.workdir:
        raise UserError("--workdir=DIR is missing: name the directory of the experiment")
    if not paths:
        raise UserError("no image is named: python -m natra_jax.predict --workdir=DIR IMAGES...")
    return values, paths


def read_image(path: str, image_shape: tuple[int, int, int], fit: str) -> np.ndarray:
    """Return the image file as float32 [H, W, C] in [-1, 1]: RGB, or grey for one channel.

    Args:
      path: of the file.
      image_shape: H, W and C.
      fit: of natra_jax.data.FITS, how an image of another size is brought to H = W; '' takes none.

    Raises:
      UserError: if the file cannot be read, or is of another size and not to be scaled.
    """
    from natra_jax.data import decoding, to_float

    (height, width, channels), file = image_shape, Path(path).expanduser()
    size = decoding.size(file, path)
    if size != (width, height) and not fit:
        raise UserError(
            f"{path}: is {size[0]}x{size[1]} pixels (width x height), and the classifier was "
            f"trained on {width}x{height}: give --resize to scale it"
        )
    return to_float(decoding.decode(file, decoding.Preprocess(height, fit, channels), path))


def run() -> None:
    """Run the command with its exit codes and one-line errors."""
    command.run(main, sys.argv, interrupted="interrupted", place="standard output")


def _flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "workdir", None, "Directory or bucket of the experiment.", flag_values=values
    )
    flags.DEFINE_string(
        "method", "natra", "Method that the classifier was trained by.", flag_values=values
    )
    flags.DEFINE_integer(
        "seed", 0, "Seed that it was trained from.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_string(
        "factory",
        "",
        "The classifier.factory that it was trained with, where that is yours.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "resize",
        False,
        "Scale images of another size, whatever their proportions.",
        flag_values=values,
    )
