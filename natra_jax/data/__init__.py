"""Data sets: what is in them, how they are batched."""

from natra_jax.data import digits
from natra_jax.data.loader import batches
from natra_jax.data.source import Source, Split, to_float, to_uint8

SOURCES = {"digits": digits.load}

__all__ = ["SOURCES", "Source", "Split", "batches", "to_float", "to_uint8"]
