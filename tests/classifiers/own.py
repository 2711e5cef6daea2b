"""Classifiers as users have them: modules that are not ours, each with its own name for the flag
of training, and plain functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from natra_jax.classifiers.advbn import AdvBN

FLAGS = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}  # name: in training


def _layers(self, x, train):
    for width in self.widths:
        x = nn.Conv(width, (3, 3), strides=(2, 2))(x)
        x = nn.BatchNorm(
            use_running_average=not train, momentum=0.5, axis_name=self.axis_name if train else None
        )(x)
        x = nn.relu(x)
    x = nn.Dropout(0.5, deterministic=not train)(x.mean((1, 2)))
    return nn.Dense(self.num_classes)(x)


class _Net(nn.Module):
    num_classes: int
    axis_name: str | None = None
    widths: Sequence[int] = (4,)


class Train(_Net):
    @nn.compact
    def __call__(self, x, train: bool = True):
        return _layers(self, x, train)


class Training(_Net):
    @nn.compact
    def __call__(self, x, training):
        return _layers(self, x, training)


class IsTraining(_Net):
    @nn.compact
    def __call__(self, x, *, is_training):
        return _layers(self, x, is_training)


class Deterministic(_Net):
    @nn.compact
    def __call__(self, x, deterministic: bool = True):
        return _layers(self, x, not deterministic)


class UseRunningAverage(_Net):
    @nn.compact
    def __call__(self, x, use_running_average=True):
        return _layers(self, x, not use_running_average)


class Linear(nn.Module):
    """In the style of setup, and with no flag."""

    num_classes: int

    def setup(self):
        self.head = nn.Dense(self.num_classes)

    def __call__(self, x):
        return self.head(x.reshape(len(x), -1))


class AtConstruction(nn.Module):
    num_classes: int
    train: bool = False

    @nn.compact
    def __call__(self, x):
        return _layers(self, x, self.train)


BY_FLAG = dict(
    zip(FLAGS, (Train, Training, IsTraining, Deterministic, UseRunningAverage), strict=True)
)


def with_a_list(num_classes):
    return Train(num_classes, widths=[3, 4])


def a_sequence(num_classes):
    return nn.Sequential(
        [nn.Conv(2, (3, 3)), nn.relu, lambda x: x.mean((1, 2)), nn.Dense(num_classes)]
    )


class Weights(NamedTuple):
    kernel: jax.Array
    bias: jax.Array


def plain_init(num_classes, key, images):
    pixels = int(np.prod(images.shape[1:]))
    return [
        Weights(0.1 * jax.random.normal(key, (pixels, num_classes)), jnp.zeros(num_classes)),
        {"scale": jnp.ones(())},
    ]


def plain_apply(weights, images):
    (kernel, bias), rest = weights
    return rest["scale"] * images.reshape(len(images), -1) @ kernel + bias


def plain(num_classes):
    return partial(plain_init, num_classes), plain_apply


def one_class_too_many(num_classes):
    return Linear(num_classes + 1)


def of_integers(num_classes):
    return partial(plain_init, num_classes), lambda weights, images: plain_apply(
        weights, images
    ).astype(jnp.int32)


def without_weights(num_classes):
    return lambda key, images: {}, lambda weights, images: images.mean((1, 2))


def for_other_images(num_classes):
    def apply(weights, images):
        if images.shape[1] != 224:
            raise ValueError("made for images of 224 pixels,\nand for no others")
        return plain_apply(weights, images)

    return partial(plain_init, num_classes), apply


def two_logits(num_classes):
    return partial(plain_init, num_classes), lambda weights, images: (
        plain_apply(weights, images),
        images,
    )


def failing(num_classes):
    raise RuntimeError("no\nluck")


def without_keyword():
    return Linear(3)


def of_numbers(num_classes):
    return {"num_classes": num_classes}


number = 3


class Block(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    width: int

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(self.width, (3, 3))(x)
        return nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.5)(x))


class Nested(nn.Module):
    """The AdvBN layer at the top, everything else in modules of modules."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = Twice(name="early")(x, train)
        x = AdvBN()(x)
        x = Twice(name="late")(x, train)
        x = nn.Dropout(0.5, deterministic=not train)(x.mean((1, 2)))
        return nn.Dense(self.num_classes)(x)


class Twice(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return Block(3)(Block(2)(x, train), train)


class Deep(nn.Module):
    """The AdvBN layer deep inside, in the style of setup, with a method of its own, under another
    name for the flag.
    """

    num_classes: int

    def setup(self):
        self.backbone = Backbone()
        self.out = nn.Dense(self.num_classes)

    def embed(self, x, training):
        return self.backbone(x, training).mean((1, 2))

    def __call__(self, x, training):
        return self.out(self.embed(x, training))


class Backbone(nn.Module):
    def setup(self):
        self.stem = nn.remat(Block, static_argnums=(2,))(3)
        self.style = AdvBN()
        self.body = Block(4)

    def __call__(self, x, train):
        return self.body(self.style(self.stem(x, train)), train)


class StillTrunk(nn.Module):
    """Nothing before the AdvBN layer behaves otherwise in training."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = AdvBN()(nn.relu(nn.Conv(3, (3, 3))(x)))
        return _layers_behind(self, x, train)


def _layers_behind(self, x, train):
    x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Conv(4, (3, 3))(x)))
    x = nn.Dropout(0.5, deterministic=not train)(x.mean((1, 2)))
    return nn.Dense(self.num_classes)(x)


class Shortcut(nn.Module):
    """Its head sees the images past the AdvBN layer."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool = False):
        y = nn.Conv(3, (3, 3))(x)
        return nn.Dense(self.num_classes)((y + AdvBN()(nn.relu(y))).mean((1, 2)))


class TwoLayers(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.Dense(self.num_classes)(AdvBN()(nn.relu(nn.Dense(4)(AdvBN()(x)))).mean((1, 2)))


def sequence_with_advbn(num_classes):
    return nn.Sequential(
        [nn.Conv(2, (3, 3)), nn.relu, AdvBN(), lambda x: x.mean((1, 2)), nn.Dense(num_classes)]
    )
