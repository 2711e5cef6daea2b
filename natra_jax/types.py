"""The types that cross module borders: generators, directions, batches and errors. Images are float32 in [-1, 1] everywhere.

Shapes: images [B, H, W, C]; z [B, Z]; codes [B, L, D] (one code vector per generator layer, StyleGAN's w+); r [B, S]; labels [B] whole
numbers, or [B, label_dim] distributions (soft labels).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import numpy as np

Params = Any  # a pytree of arrays
Batch = dict[str, Any]
"""image [B, H, W, C] (uint8 from the loader, float32 in a step), label [B], index [B]; codes [B, L, D] and partner_* [B, P, ...] where the
method needs them"""


class UserError(Exception):
    """A mistake that the person at the keyboard can put right: one line saying what, where and what to do (exit code 2)."""


class Bound:
    """A function with its first arguments fixed, equal to another that fixes the same: functools.partial compares by identity, and
    what is jitted with a new one as a static part would be traced anew. The arguments must be hashable.
    """

    def __init__(self, function: Callable, *first: Any):
        self._parts = (function, *first)

    def __call__(self, *rest: Any, **named: Any) -> Any:
        function, *first = self._parts
        return function(*first, *rest, **named)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bound) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)


class Features(NamedTuple):
    """A generator's state behind a layer, where it has an image beside its feature maps. Others have a pytree of feature maps alone."""

    x: Any  # a pytree of feature maps
    rgb: (
        jax.Array | None
    )  # the image summed up so far: of several codes an image it is averaged, where features are weighed


@dataclass(frozen=True)
class Generator:
    """A generator as pure functions and a few numbers. `head`, `advance` and `tail` split it at layers:

    tail(params, head(params, codes, l), codes, l) == synthesize(params, codes) for every l in 0..depth, and
    advance(params, head(params, codes, l), codes, l, m) == head(params, codes, m) for every m from l on.

    Codes hold all that tells one image from another. In a family whose layers see the label (BigGAN), or whose first does (ProGAN), the
    class_entries of each code are what `map` makes of it. Elsewhere the label enters `map` alone.
    """

    family: str
    num_layers: int  # L
    depth: (
        int  # layers that it can be split behind: L, or more where layers follow that take no code
    )
    code_dim: int  # D
    resolution: int  # H = W, pixels
    label_dim: int  # number of classes; 0: unconditional
    init: Callable[[jax.Array], Params]
    """(key) -> params, a dict; the mapping network's are under 'mapping', what no training changes (noise maps, running statistics) under
    'buffers'"""
    sample: Callable[[jax.Array, int], jax.Array]
    """(key, n) -> z [n, Z] from the prior"""
    map: Callable[..., jax.Array]
    """(params, z, label=None, truncation_psi=1., truncation_cutoff=None) -> codes [B, L, D]"""
    synthesize: Callable[..., jax.Array]
    """(params, codes, label=None, noise='const'|'none'|'random', key=None) -> images [B, H, W, C], not clipped. label: in place of the one
    in the codes, where they have class_entries; nowhere else"""
    head: Callable[[Params, jax.Array, int], Any]
    """(params, codes, l) -> features: the state after the layer fed by codes[:, l - 1]; l = 0 gives the constant"""
    advance: Callable[[Params, Any, jax.Array, int, int], Any]
    """(params, features, codes, l, m) -> features: the layers fed by codes[:, l:m]"""
    tail: Callable[[Params, Any, jax.Array, int], jax.Array]
    """(params, features, codes, l) -> images: the layers fed by codes[:, l:]"""
    style: Callable[[Params, int], jax.Array] | None = None
    """(params, l) -> [outputs, D]: the matrix with which codes[:, l] enters layer l; None where there is none"""
    class_entries: tuple[int, ...] = ()  # indices of the entries of each code that hold its class

    def draw_label(self, key: jax.Array, n: int) -> jax.Array | None:
        """Classes [n], each as likely as any other; None where there are none."""
        return (
            jax.random.randint(jax.random.fold_in(key, 1), (n,), 0, self.label_dim)
            if self.label_dim
            else None
        )

    def draw(
        self, params: Params, key: jax.Array, n: int, truncation_psi: float = 1.0
    ) -> jax.Array:
        """Codes [n, L, D] of prior samples, of all classes alike where there are such."""
        return self.map(
            params, self.sample(key, n), self.draw_label(key, n), truncation_psi=truncation_psi
        )


class Directions(NamedTuple):
    """Directions in code space (spec: paper section 3.4). Moving along k by r multiples of sigma adds r * sigma[k] * vectors[k].

    The vectors are already masked: vectors[k, l] is zero where mask[k, l] is False, and sum over l of |vectors[k, l]|^2 is 1.
    """

    vectors: np.ndarray  # [K, L, D]
    sigma: np.ndarray  # [K], standard deviation of the population's codes along each vector
    mean: np.ndarray  # [L, D], mean code of the population
    mask: np.ndarray  # [K, L] bool, the layers each direction moves
    names: tuple[str, ...]
    useful: (
        np.ndarray
    )  # [K], largest multiple of sigma known to keep the label; inf where not measured
    generator_fingerprint: str
    method: str = ""  # by which they were found


class Record(NamedTuple):
    """One measured number: a line of records.jsonl. low and high bound the 95 % interval over the n examples (Wilson), or are None."""

    method: str  # a training method, or a stage such as 'encoder'
    seed: int
    split: str
    metric: str
    value: float
    n: int
    low: float | None
    high: float | None
    fingerprint: str  # of everything the number depends on


class Variation(NamedTuple):
    """What a method makes of a batch: varied inputs, what the classifier shall answer to them, and the examples' new radii."""

    inputs: jax.Array  # [B, H, W, C]
    targets: jax.Array  # [B, num_classes], distributions
    epsilon: jax.Array  # [B]
    failed: jax.Array | None = (
        None  # [B] bool, the classifier is wrong on it; None where the method does not know
    )
    metrics: dict[str, jax.Array] = {}  # name -> [B]


class Partners(NamedTuple):
    """What a method needs of other training examples: the loader adds partner_<array> [B, count, ...] for each of the arrays."""

    arrays: tuple[str, ...]
    count: int


Loss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
"""(logits [B, C], targets [B, C] distributions, labels [B]) -> [B]"""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Method:
    """What a training step trains on beside the clean batch. A pytree: generator weights ride along as arrays.

    vary: Partial of (logits_fn, keys [B], batch, epsilon [B]) -> Variation; None to make no images. logits_fn: images -> logits with
      running BatchNorm statistics.
    passes: network passes per example and step, a backward pass counting as two forward ones, by which methods of unequal cost are
      compared.
    loss: of the varied inputs, in the search and in the training step alike.
    perturb: Partial of (head_fn, keys [B], features [B, ...], targets [B, C], relu) -> (perturbed features [B, ...], success [B]), for
      methods that act on the features at a classifier's AdvBN layer; None for all others. head_fn: features -> logits. relu: whether
      the features are a ReLU's output.
    """

    vary: Callable[..., Variation] | None
    passes: int = field(metadata={"static": True})
    loss: Loss = field(metadata={"static": True})
    perturb: Callable[..., tuple[jax.Array, jax.Array]] | None = None
    partners: Partners | None = field(default=None, metadata={"static": True})
