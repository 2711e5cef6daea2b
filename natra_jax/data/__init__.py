"""Data sets: what is in them, how they are read, how they are batched.

from natra_jax.data import source_of
source = source_of("digits").load(seed=0, renderings=1, wild_per_image=1)
images, labels = source.splits["train"]
"""

from natra_jax.data.arrays import from_arrays
from natra_jax.data.decoding import FITS
from natra_jax.data.encoded_images import Decoded
from natra_jax.data.loader import batches
from natra_jax.data.prepared import PREFIX, reopen
from natra_jax.data.source import UNLABELLED, Images, Source, Split, to_float, to_uint8
from natra_jax.data.subset import Concat, Subset
from natra_jax.data.survey import SOURCES, DataSource, Survey, source_of

__all__ = [
    "FITS",
    "PREFIX",
    "SOURCES",
    "UNLABELLED",
    "Concat",
    "DataSource",
    "Decoded",
    "Images",
    "Source",
    "Split",
    "Subset",
    "Survey",
    "batches",
    "from_arrays",
    "reopen",
    "source_of",
    "to_float",
    "to_uint8",
]
