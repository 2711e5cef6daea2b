"""The predictability of a label from one number: grounds to suspect that it carries the label.

It may carry the label, or a shortcut to it.

    predictability(coordinates, labels, seed=0)  # 0: no better than chance; 1: without error

An example's neighbours along the coordinate are the 5 % of the examples next to it on either side.
A label is the likelier, the larger the share of its examples that lies among them; the example
itself is left out, so that it cannot vouch for its own label. The score is how often the true
label comes out likelier than another one (a tie counts half), as a mean over examples, over the
other labels, and over the true ones, so that frequent labels do not outweigh rare ones. It assumes
no shape of dependence: circular and many-peaked ones count as well as monotone ones. The range
from 1/2, a coin's score, to 1 is stretched onto 0 to 1.

Few examples tell some label by chance. So the score is taken again with shuffled labels, a hundred
times, and the highest of these becomes the 0 of the returned value.
"""

from __future__ import annotations

import numpy as np

_REACH = 0.05  # of the examples, on either side
_SHUFFLES = 100


def predictability(coordinates: np.ndarray, labels: np.ndarray, *, seed: int) -> float:
    """Measure how well coordinates [N] predict labels [N], whole numbers.

    The result is from 0 (shuffled labels are predicted as well) to 1 (without error). Examples that
    are alone with their label say nothing and are left out; where fewer than two labels remain, it
    is 0. seed: of the shuffles, and of the order of equal coordinates.
    """
    _, labels, counts = np.unique(labels, return_inverse=True, return_counts=True)
    several = counts[labels] > 1
    coordinates = np.asarray(coordinates)[several]
    kinds, labels = np.unique(labels[several], return_inverse=True)
    if len(kinds) < 2:
        return 0.0
    rng = np.random.default_rng(seed)
    labels = labels[np.lexsort((rng.random(len(labels)), coordinates))]
    chance = max(_score(rng.permutation(labels), len(kinds)) for _ in range(_SHUFFLES))
    return max(0.0, (_score(labels, len(kinds)) - chance) / (1 - chance)) if chance < 1 else 0.0


def _score(labels: np.ndarray, num: int) -> float:
    """Return the score of labels [N] in 0..num - 1, sorted by the coordinate."""
    place = np.arange(len(labels))
    reach = max(1, round(_REACH * len(labels)))
    is_label = np.eye(num)[labels]
    before = np.concatenate([np.zeros((1, num)), is_label.cumsum(0)])
    beside = (
        before[np.minimum(place + reach + 1, len(labels))]
        - before[np.maximum(place - reach, 0)]
        - is_label
    )
    share = beside / is_label.sum(0)
    own = share[place, labels][:, None]
    likelier = (own > share).sum(1) + ((own == share).sum(1) - 1) / 2
    by_label = np.bincount(labels, likelier, num) / np.bincount(labels, minlength=num)
    return float(2 * by_label.mean() / (num - 1) - 1)
