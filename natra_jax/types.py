"""The types that cross module borders: generators, directions, methods, batches and errors.

Images are float32 in [-1, 1] everywhere. Shapes: images [B, H, W, C]; z [B, Z]; codes [B, L, D]
(one code vector per generator layer, StyleGAN's w+); r [B, S]; labels [B] whole numbers, or
[B, label_dim] distributions (soft labels).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Bool, Float, Integer, Key, UInt32

if TYPE_CHECKING:
    from jax import Array

    PyTree = Any  # jaxtyping's is of no known type to a strict checker
else:  # the tests check shapes at run time, where NumPy's arrays will do as well
    from jaxtyping import PyTree

    Array = jax.Array | np.ndarray

Params = PyTree  # of arrays
Keys = Key[Array, " B"] | UInt32[Array, "B 2"]
"""One key for each example, as jax.random.split gives them for a key, or for an older PRNGKey."""
Batch = dict[str, Any]
"""image [B, H, W, C] (uint8 from the loader, float32 in a step), label [B], index [B]; codes
[B, L, D] and partner_* [B, P, ...] where the method needs them."""
LogitsFn = Callable[[PyTree], Float[Array, "B C"]]
"""(images, or features at a classifier's cut) -> logits [B, C], by running BatchNorm statistics"""


@runtime_checkable
class Images(Protocol):
    """Images [N, H, W, C] uint8 that are read where they are asked for.

    An array, a memory-mapped one, or files that are decoded.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray: ...


class UserError(Exception):
    """A mistake that the person at the keyboard can put right (exit code 2).

    Its message is one line that says what is wrong, where, and what to do.
    """


class Features(NamedTuple):
    """A generator's state behind a layer, where it has an image beside its feature maps.

    Other generators have a pytree of feature maps alone.
    """

    x: PyTree  # of feature maps
    rgb: Float[Array, "B H W C"] | None
    """The image summed up so far. Of several codes an image, it is averaged where features are
    weighed."""


@dataclass(frozen=True)
class Generator:
    """A generator as pure functions and a few numbers.

    `head`, `advance` and `tail` split it at layers:

    tail(params, head(params, codes, l), codes, l) == synthesize(params, codes) for every l in
    0..depth, and advance(params, head(params, codes, l), codes, l, m) == head(params, codes, m) for
    every m from l on.

    Codes hold all that tells one image from another. In a family whose layers see the label
    (BigGAN), or whose first does (ProGAN), the class_entries of each code are what `map` makes of
    it. Elsewhere the label enters `map` alone.
    """

    family: str
    num_layers: int  # L
    depth: int
    """The layers that it can be split behind: L, or more where layers follow that take no code."""
    code_dim: int  # D
    resolution: int  # H = W, pixels
    label_dim: int  # number of classes; 0: unconditional
    init: Callable[[Array], Params]
    """(key) -> params, a dict. The mapping network's are under 'mapping', what no training changes
    (noise maps, running statistics) under 'buffers'."""
    sample: Callable[[Array, int], Float[Array, "n Z"]]
    """(key, n) -> z [n, Z] from the prior"""
    map: Callable[..., Float[Array, "B L D"]]
    """(params, z, label=None, truncation_psi=1., truncation_cutoff=None) -> codes [B, L, D]"""
    synthesize: Callable[..., Float[Array, "B H W C"]]
    """(params, codes, label=None, noise='const'|'none'|'random', key=None) -> images [B, H, W, C],
    not clipped. label: in place of the one in the codes, where they have class_entries alone."""
    head: Callable[[Params, Array, int], PyTree]
    """(params, codes, l) -> features: the state after the layer fed by codes[:, l - 1]; l = 0 gives
    the constant"""
    advance: Callable[[Params, PyTree, Array, int, int], PyTree]
    """(params, features, codes, l, m) -> features: the layers fed by codes[:, l:m]"""
    tail: Callable[[Params, PyTree, Array, int], Float[Array, "B H W C"]]
    """(params, features, codes, l) -> images: the layers fed by codes[:, l:]"""
    style: Callable[[Params, int], Float[Array, "outputs D"]] | None = None
    """(params, l) -> the matrix with which codes[:, l] enters layer l; None where there is none"""
    channels: int = 3  # C of its images
    class_entries: tuple[int, ...] = ()  # indices of the entries of each code that hold its class

    def draw_label(self, key: Array, n: int) -> Integer[Array, " n"] | None:
        """Draw classes [n], each as likely as any other. Return None where there are none."""
        if not self.label_dim:
            return None
        return jax.random.randint(jax.random.fold_in(key, 1), (n,), 0, self.label_dim)

    def draw(
        self, params: Params, key: Array, n: int, truncation_psi: float = 1.0
    ) -> Float[Array, "n L D"]:
        """Draw codes [n, L, D] of prior samples, of all classes alike where there are such."""
        return self.map(
            params, self.sample(key, n), self.draw_label(key, n), truncation_psi=truncation_psi
        )


class Directions(NamedTuple):
    """Directions in code space (NaTra section 3.4).

    Moving along k by r multiples of sigma adds r * sigma[k] * vectors[k]. The vectors are already
    masked: vectors[k, l] is zero where mask[k, l] is False, and the sum over l of |vectors[k, l]|^2
    is 1.
    """

    vectors: Float[np.ndarray, "K L D"]
    sigma: Float[np.ndarray, " K"]
    """The standard deviation of the population's codes along each vector."""
    mean: Float[np.ndarray, "L D"]  # the mean code of the population
    mask: Bool[np.ndarray, "K L"]  # the layers each direction moves
    names: tuple[str, ...]
    useful: Float[np.ndarray, " K"]
    """The largest multiple of sigma known to keep the label; inf where not measured."""
    generator_fingerprint: str
    method: str = ""  # by which they were found


class Record(NamedTuple):
    """One measured number: a line of records.jsonl.

    low and high bound the 95 % interval over the n examples (Wilson), or are None.
    """

    method: str  # a training method, or a stage such as 'encoder'
    seed: int
    split: str
    metric: str
    value: int | float  # and so below: a whole number is written, and read, as one
    n: int
    low: int | float | None
    high: int | float | None
    fingerprint: str  # of everything the number depends on


class Variation(NamedTuple):
    """Varied inputs made of a batch, the classifier's targets for them, and the new radii."""

    inputs: Float[Array, "B H W C"]
    targets: Float[Array, "B C"]  # distributions over the classes
    epsilon: Float[Array, " B"]
    failed: Bool[Array, " B"] | None = None
    """Whether the classifier is wrong on it; None where the method does not know."""
    metrics: dict[str, Float[Array, " B"]] = {}
    delta: Float[Array, "B S"] | None = None
    """The perturbations to keep until the next visit, where the method keeps any."""


class Partners(NamedTuple):
    """The other training examples that a method needs beside each example.

    The loader adds partner_<array> [B, count, ...] for each of the arrays.
    """

    arrays: tuple[str, ...]
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]: tuple.count is of no use here


Loss = Callable[
    [Float[Array, "B C"], Float[Array, "B C"], Integer[Array, " B"]], Float[Array, " B"]
]
"""(logits [B, C], targets [B, C] distributions, labels [B]) -> [B]"""


@runtime_checkable
class Vary(Protocol):
    """Make variations of a batch. epsilon: the examples' stored radii."""

    def __call__(
        self, logits_fn: LogitsFn, keys: Keys, batch: Batch, epsilon: Float[Array, " B"], /
    ) -> Variation: ...


@runtime_checkable
class Perturb(Protocol):
    """Perturb features [B, ...] at a classifier's AdvBN layer -> (perturbed features, success [B]).

    head_fn: features -> logits. relu: whether the features are a ReLU's output.
    """

    def __call__(
        self,
        head_fn: LogitsFn,
        keys: Keys,
        features: Float[Array, "B *space C"],
        targets: Float[Array, "B classes"],
        relu: bool,
        /,
    ) -> tuple[Float[Array, "B *space C"], Bool[Array, " B"]]: ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Method:
    """The work of a training step beside the clean batch.

    A pytree: vary and perturb are `jax.tree_util.Partial`s, in which a generator's weights ride
    along as arrays.
    """

    vary: Vary | None
    """None to make no images. logits_fn has running BatchNorm statistics."""
    passes: int = field(metadata={"static": True})
    """Network passes per example and step, a backward pass counting as two forward ones, by which
    methods of unequal cost are compared."""
    loss: Loss = field(metadata={"static": True})
    """The loss of the varied inputs, in the search and in the training step alike."""
    perturb: Perturb | None = None
    """For methods that act on the features at a classifier's AdvBN layer; None for all others."""
    partners: Partners | None = field(default=None, metadata={"static": True})
    kept: int | None = field(default=None, metadata={"static": True})
    """S, where a perturbation [S] of each training example is kept between its visits: vary finds
    it in batch["delta"] [B, S], NaN before the first visit, and returns the next one. None for
    methods that keep none."""
