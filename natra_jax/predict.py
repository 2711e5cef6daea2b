"""What a trained classifier says of images: a line for each with its path, class and probability, separated by tabs.

    python -m natra_jax.predict --workdir=DIR [--method=natra] [--seed=0] [--resize] IMAGES...

IMAGES are files in any format that Pillow reads. They are turned as their EXIF orientation says, and have to be of the size that was
trained on unless --resize is given.
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
    flags.DEFINE_string("workdir", None, "Directory or bucket of the experiment.", flag_values=values)
    flags.DEFINE_string("method", "natra", "The method that the classifier was trained by.", flag_values=values)
    flags.DEFINE_integer("seed", 0, "The seed that it was trained from.", lower_bound=0, flag_values=values)
    flags.DEFINE_bool("resize", False, "Scale images of another size, bicubically and whatever their proportions.", flag_values=values)
    flags.DEFINE_bool("debug", False, "Show the traceback of errors that the user can put right, too.", flag_values=values)
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
    try:
        paths = values(argv)[1:]
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error
    if not values.help:
        if not values.workdir:
            raise UserError("--workdir=DIR is missing: name the directory of the experiment")
        if not paths:
            raise UserError("no image is named: python -m natra_jax.predict --workdir=DIR IMAGES...")
    return values, paths


def main(argv: Sequence[str]) -> None:
    """Prints a line for each image that argv names. Raises UserError for a flag, workdir or image that cannot be used."""
    chosen, paths = parse_flags(argv)
    if chosen.help:
        print(f"{__doc__}\n{chosen.get_help()}")
        return

    import jax

    from natra_jax.stages import trained

    classifier = trained.load(chosen.workdir, chosen.method, chosen.seed)
    probabilities = jax.jit(lambda logits_fn, images: jax.nn.softmax(logits_fn(images)))
    for i in range(0, len(paths), _BATCH):
        names = paths[i : i + _BATCH]
        images = np.stack([read_image(name, classifier.image_shape, chosen.resize) for name in names])
        for name, of_image in zip(names, np.asarray(probabilities(classifier.logits_fn, images)), strict=True):
            print(f"{name}\t{of_image.argmax()}\t{of_image.max():.4f}", flush=True)


def read_image(path: str, image_shape: tuple[int, int, int], resize: bool) -> np.ndarray:
    """The image file as float32 [H, W, C] in [-1, 1], in RGB, or in grey for one channel.

    Raises UserError if it cannot be read, or is of another size and not to be resized.
    """
    from PIL import Image, ImageOps

    from natra_jax.data import to_float

    height, width, channels = image_shape
    try:
        with Image.open(Path(path).expanduser()) as file:
            image = ImageOps.exif_transpose(file)
            image = _to_8_bits(image).convert("L" if channels == 1 else "RGB")
    except Exception as error:  # Pillow raises many types for a damaged file
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read as an image ({reason})") from error
    if image.size != (width, height):
        if not resize:
            found = f"{image.height}x{image.width}"
            raise UserError(f"{path}: is {found} pixels, and the classifier was trained on {height}x{width}: give --resize to scale it")
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return to_float(np.asarray(image).reshape(image_shape))


def _to_8_bits(image):
    """A grey image of 16 bits in 8, where Pillow's own conversion would cut off all above 255; others as they are."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))


def run() -> None:
    """The entry point: exit codes and one-line errors around `main`."""
    command.run(lambda: main(sys.argv), sys.argv, place=lambda: "standard output", interrupted="interrupted")


if __name__ == "__main__":
    run()
