"""Data sets: what is in them, how they are read, how they are batched.

from natra_jax.data import SOURCES
source = SOURCES["digits"](seed=0, renderings=1, wild_per_image=1)
images, labels = source.splits["train"]
"""

from natra_jax.data import digits, folder, prepared
from natra_jax.data.arrays import from_arrays
from natra_jax.data.decoding import FITS
from natra_jax.data.encoded_images import Decoded
from natra_jax.data.loader import batches
from natra_jax.data.prepared import PREFIX
from natra_jax.data.reopening import reopen
from natra_jax.data.source import UNLABELLED, Images, Source, Split, to_float, to_uint8
from natra_jax.data.subset import Concat, Subset

SOURCES = {"digits": digits.load, "folder": folder.load, "tfds": prepared.load}
_SCALED = ("folder", "tfds")  # sources of images of any size
ARRAYS = "arrays"  # in place of a source's name, where the arrays themselves are handed over


def scales(name: str) -> bool:
    """Whether the source of that name (of config field data.name) brings images of any size to data.resolution, as data.fit says."""
    return name.partition(":")[0] in _SCALED


__all__ = [
    "ARRAYS",
    "FITS",
    "PREFIX",
    "SOURCES",
    "UNLABELLED",
    "Decoded",
    "Images",
    "Concat",
    "Subset",
    "Source",
    "Split",
    "batches",
    "from_arrays",
    "reopen",
    "scales",
    "to_float",
    "to_uint8",
]
