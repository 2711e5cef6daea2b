"""The filters with which StyleGAN2 resamples, told by tensors or by a checkpoint's settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from natra_jax.types import UserError
from natra_jax.weights.tensors import Tensors

_MOST_TAPS = 32
LARGEST = 1e30  # of a setting: beyond, float32 overflows


def factor(kernel: np.ndarray, name: str) -> list[float]:
    """Return the taps t [n] of a filter [n, n] that is a multiple of outer(t, t), or [n].

    They are whole numbers where they can be. Raises UserError, naming it, for a filter that is not
    of this form, or of very many taps.
    """
    taps = kernel.sum(1) if kernel.ndim == 2 else kernel
    total = taps.sum()
    if (
        taps.ndim != 1
        or not 1 <= len(taps) <= _MOST_TAPS
        or not 1e-6 < abs(total) < np.inf
        or kernel.shape not in (taps.shape, taps.shape * 2)
    ):
        raise UserError(
            f"{name} is {list(kernel.shape)}, expected a filter of at most {_MOST_TAPS} taps along "
            "both sides"
        )
    taps = taps.astype(np.float64) / total
    if (
        kernel.ndim == 2
        and np.abs(np.outer(taps, taps) - kernel / total).max() > 1e-5 * np.abs(taps).max()
    ):
        raise UserError(
            f"{name} is not the same filter along both sides: a StyleGAN2 with such a filter is "
            "not supported"
        )
    whole = taps / np.abs(taps[np.abs(taps) > 1e-6]).min()
    if np.abs(whole).max() < 1000 and np.allclose(whole, whole.round(), rtol=0, atol=1e-4):
        return [int(tap) for tap in whole.round()]
    return taps.tolist()


def one_filter(tensors: Tensors, names: Sequence[str]) -> list[float] | None:
    """Take the filters of these names, and return their taps; None if there are none.

    Raises UserError if they differ.
    """
    found = {name: factor(tensors.take(name), name) for name in names}
    for name, taps in found.items():
        if taps != found[names[0]]:
            raise UserError(
                f"{name} is another filter than {names[0]}: a StyleGAN2 of several is not supported"
            )
    return found[names[0]] if names else None


def agreed_taps(found: list[float] | None, said: object) -> list[float]:
    """Return the taps of the tensors, or else of the setting, or else NVIDIA's default.

    Raises UserError if the setting is no filter, or another one than the tensors'.
    """
    if said is None:
        return found or [1, 3, 3, 1]
    if (
        not isinstance(said, list)
        or not 1 <= len(said) <= _MOST_TAPS
        or not all(abs(tap) < LARGEST for tap in said)
        or sum(said) == 0
    ):
        raise UserError(
            f"the checkpoint's resampling filter must be at most {_MOST_TAPS} numbers: it is "
            "damaged"
        )
    if found and (
        len(found) != len(said)
        or not np.allclose(np.divide(found, sum(found)), np.divide(said, sum(said)), atol=1e-4)
    ):
        raise UserError(
            f"the checkpoint's setting resample_filter is {said}, but its tensors say {found}: it "
            "is damaged"
        )
    return found or said
