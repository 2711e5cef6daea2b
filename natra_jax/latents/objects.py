"""What varies among images of one object: directions that leave alone what tells objects apart.

    population = within_objects(codes, objects)  # [K, L, D], [K] -> [k, L, D]

Nobody has to know what an object is, only which images show the same one: bursts of photos, time
lapses, renderings. What varies among these leaves the object alone, and with it its label.
"""

# pyright: strict

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped

_HELD = 0.95  # share of the variance between objects whose axes are held still


def within_objects(
    codes: Float[np.ndarray, "K L D"], objects: Shaped[np.ndarray, " K"]
) -> Float[np.ndarray, "k L D"]:
    """Subtract from each code its object's mean, and hold still what objects differ by.

    The first alone is not enough: an encoder reads an object a little differently before another
    ground, and along that error, too, codes of one object vary. So the principal axes that carry
    most of the covariance between objects are taken out, as in discriminant analysis (Fisher 1936).
    That covariance is estimated from products of different codes of one object, to which errors
    that are independent add nothing.

    Args:
      codes: the population.
      objects: which object each shows; those that are shown once are left out.

    Returns:
      The codes that are left, in order, around the population's mean; their spread is that of the
      codes of one object around its true mean.

    Raises:
      ValueError: no object has two codes, or objects are not one for one.
    """
    if not 0 < len(codes) == len(objects):
        raise ValueError(f"{len(codes)} codes and {len(objects)} objects: must be one for one")
    left = shown_again(objects)
    if not left.any():
        raise ValueError("no object has two images: there is nothing that varies within one")
    _, place, count = np.unique(objects[left], return_inverse=True, return_counts=True)
    flat = codes[left].reshape(int(left.sum()), -1).astype(np.float64)
    mean = codes.mean(0)
    flat -= mean.ravel()
    sums = np.zeros((len(count), flat.shape[1]))
    np.add.at(sums, place, flat)
    shrinkage = np.sqrt(1 - 1 / count)  # of the spread around the mean of so many
    within = (flat - (sums / count[:, None])[place]) / shrinkage[place, None]
    between = (sums.T @ sums - flat.T @ flat) / (count * (count - 1)).sum()
    held = _principal_axes(between, _HELD)
    within -= (within @ held) @ held.T
    return (within.reshape(-1, *codes.shape[1:]) + mean).astype(codes.dtype)


def shown_again(objects: Shaped[np.ndarray, " K"]) -> Bool[np.ndarray, " K"]:
    """Tell which images show an object that others of them show, too."""
    _, place, count = np.unique(objects, return_inverse=True, return_counts=True)
    return count[place] > 1


def _principal_axes(covariance: Float[np.ndarray, "F F"], share: float) -> Float[np.ndarray, "F A"]:
    """Return the fewest principal axes that carry so large a share of the variance.

    An estimate's negative eigenvalues count as none.
    """
    values, axes = np.linalg.eigh(covariance)
    carried = np.cumsum(np.maximum(values[::-1], 0))
    if carried[-1] == 0:
        return axes[:, :0]
    return axes[:, ::-1][:, : 1 + np.count_nonzero(carried < share * carried[-1])]
