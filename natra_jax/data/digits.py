"""Colour digits: the 1,797 handwritten digits of scikit-learn, painted and put under a light.

The label is the digit. Four factors vary in nature without changing it: the hue of the strokes, the
hue of the ground, the angle and the strength of the light. In the biased splits (train, *_iid) they
are tied to the digit; in the shifted splits they are independent of it, so a classifier that reads
colour instead of shape fails there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from natra_jax.data.source import Source, Split

RESOLUTION = 16  # pixels
CLASSES = tuple(map(str, range(10)))
_SHARES = {"train": 960, "val": 240, "test": 597}  # stratified
# So many repaintings are drawn between the splits; more have a generator of their own, so that
# their number changes neither the splits nor the first repaintings.
_RENDERINGS_BETWEEN = 16
COUNT = sum(_SHARES.values())


def hsv_to_rgb(hue: np.ndarray, saturation: float, value: float) -> np.ndarray:
    """Convert hue in turns, of any shape, to RGB [..., 3] in [0, 1]."""
    k = (np.array([5.0, 3.0, 1.0]) + 6.0 * hue[..., None]) % 6.0
    return value - value * saturation * np.clip(np.minimum(k, 4.0 - k), 0.0, 1.0)


def paint(gray: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Paint grey digits in colour, under a light.

    Args:
        gray: the ink's coverage [N, H, W] in [0, 1].
        factors: [N, 4], each in [0, 1): hue of the strokes (turns), hue of the ground (turns),
            angle of the light (turns), its strength (1 = the far side receives 40 % of the near
            side's light).

    Returns:
        Images [N, H, W, 3] uint8.
    """
    size = gray.shape[1]
    ink = hsv_to_rgb(factors[:, 0], 0.85, 0.95)[:, None, None, :]
    ground = hsv_to_rgb(factors[:, 1], 0.85, 0.40)[:, None, None, :]
    position = np.linspace(-1.0, 1.0, size)
    angle = 2 * np.pi * factors[:, 2, None, None]
    distance = (
        position[None, None, :] * np.cos(angle) + position[None, :, None] * np.sin(angle)
    ) / np.sqrt(2.0)
    light = 1.0 - 0.6 * factors[:, 3, None, None] * (0.5 - 0.5 * distance)
    coverage = gray[..., None]
    return np.rint(255.0 * (coverage * ink + (1.0 - coverage) * ground) * light[..., None]).astype(
        np.uint8
    )


def biased_factors(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    """Draw factors [N, 4] that are tied to the label [N].

    Hues and angle are each within 0.05 turns of a value given by the digit.
    """
    centres = np.stack([label / 10, 3 * label / 10 + 0.05, 7 * label / 10], axis=1)
    turns = (centres + rng.uniform(-0.05, 0.05, centres.shape)) % 1.0
    return np.concatenate([turns, rng.uniform(0.25, 0.75, (len(label), 1))], axis=1)


def uniform_factors(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    """Draw factors [N, 4] that are independent of the label [N]."""
    return rng.uniform(0.0, 1.0, (len(label), 4))


def load(*, seed: int, renderings: int, wild_per_image: int, **_: Any) -> Source:
    """Return the five splits, repaintings of the held-out digits, and the generator's domain.

    Args:
        seed: of the splits and of the painting.
        renderings: the number of true repaintings of every held-out digit.
        wild_per_image: the number of uniform repaintings of every train digit, which generators
            see.
    """
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits: Any = load_digits()  # its declared type leaves out the attributes
    ink: Any = zoom(digits.images / 16.0, (1, 2, 2), order=3, grid_mode=True, mode="nearest")
    gray = np.clip(ink, 0.0, 1.0)
    label = digits.target.astype(np.int32)
    rest, test = train_test_split(
        np.arange(len(label)), test_size=_SHARES["test"], stratify=label, random_state=seed
    )
    train, val = train_test_split(
        rest, test_size=_SHARES["val"], stratify=label[rest], random_state=seed
    )

    painters = {"iid": biased_factors, "shift": uniform_factors}
    splits, rendered = {}, {}
    rng = np.random.default_rng(seed)
    more_rng = np.random.default_rng((seed, _RENDERINGS_BETWEEN))
    first = min(renderings, _RENDERINGS_BETWEEN)
    splits["train"] = Split(paint(gray[train], biased_factors(rng, label[train])), label[train])
    for part, chosen in (("val", val), ("test", test)):
        for kind, factors in painters.items():
            splits[f"{part}_{kind}"] = Split(
                paint(gray[chosen], factors(rng, label[chosen])), label[chosen]
            )
            views = []
            for source, count in ((rng, first), (more_rng, renderings - first)):
                again = np.repeat(chosen, count)
                painted = paint(gray[again], factors(source, label[again]))
                views.append(painted.reshape(len(chosen), count, *painted.shape[1:]))
            rendered[f"{part}_{kind}"] = np.concatenate(views, axis=1)
    again = np.tile(train, wild_per_image)
    domain = Split(paint(gray[again], uniform_factors(rng, label[again])), label[again])
    return Source(CLASSES, splits, rendered, domain, domain_object=again.astype(np.int32))
