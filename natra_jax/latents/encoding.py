"""Encode a whole data set: images in, codes out, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import jax
import numpy as np
from jax.tree_util import Partial

from natra_jax import interruption
from natra_jax.files import require_whole
from natra_jax.latents.encoder import InverseEncoder
from natra_jax.types import Images, Params

EncodeFn = Callable[[jax.Array], jax.Array]
"""images [B, H, W, C] -> codes [B, L, D]"""


def encode(
    encoder: InverseEncoder, params: Params, images: np.ndarray, *, batch_size: int = 500
) -> np.ndarray:
    """Return the codes [N, L, D] (or expanded) of images.

    Args:
      encoder: an inverse encoder.
      params: its parameters.
      images: [N, H, W, C] in [-1, 1].
      batch_size: images at a time.
    """
    return np.concatenate(list(in_batches(encode_fn(encoder, params), images, batch_size)))


def encode_fn(encoder: InverseEncoder, params: Params) -> EncodeFn:
    """Return the encoder with its parameters bound."""
    return Partial(_encode(encoder), params)


@cache
def _encode(encoder: InverseEncoder) -> Callable[[Params, jax.Array], jax.Array]:
    return encoder.encode


def in_batches(
    encoder: EncodeFn, images: Images, batch_size: int, index: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Yield the codes of images, or of images[index], batch by batch.

    While one batch is computed, the next is read and the one before is handed out.

    Args:
      encoder: a jax.tree_util.Partial with its weights bound.
      images: [N, H, W, C]; may be memory-mapped.
      batch_size: images at a time.
      index: which images, in order; None: all.
    """
    waiting = None
    for i in range(0, len(images) if index is None else len(index), batch_size):
        interruption.check()
        chosen = slice(i, i + batch_size)
        require_whole(images)
        coming = _run(encoder, np.asarray(images[chosen if index is None else index[chosen]]))
        if waiting is not None:
            yield np.asarray(waiting)
        waiting = coming
    if waiting is not None:
        yield np.asarray(waiting)


@jax.jit
def _run(encoder: EncodeFn, images: jax.Array) -> jax.Array:
    return encoder(images)
