"""Latent codes expansion (NaTra section 3.3): several codes an image, summed up at one layer.

    x' = tail_l( sum_n head_l(codes_n) * importance_n )
    importance = softmax over n of logits [B, N, C_l]

The feature maps of the codes are weighed and summed behind layer l. The paper prints the sum before
the product; the importance of a code has to weigh that code's own features. The layers after l that
still take codes receive the mean of the N codes. Where a generator sums up an image beside its
features, that is averaged over the codes.

    layout = expansion(generator, num_codes=4, at=2)
    expanded = expand(generator, layout)  # a Generator like any other
    codes = layout.pack(codes, logits)  # [B, N, L, D], [B, N, C] -> [B, L, N * D + E]
    images = expanded.synthesize(params, codes)

An expanded code keeps, for every layer, the layer's N codes side by side, and in layer l - 1 the
logits behind them. So functions that move, mix, store or search codes layer by layer do so with
expanded ones as with others. A direction moves all N codes alike (`Expansion.lift`). Where l lies
behind the last layer that takes a code, the logits are kept in that one.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from natra_jax.types import Directions, Features, Generator, Params

Codes = TypeVar("Codes", jax.Array, np.ndarray)


class Expansion(NamedTuple):
    """The layout of N codes [N, L, D] and the importance of their features in one array.

    The array is [L, N * D + E]. Made by `expansion`.
    """

    num_codes: int  # N
    at: int  # l, the layer after which features are summed
    num_layers: int  # L
    code_dim: int  # D of each code
    channels: int  # C_l, of all the features there

    @property
    def extra(self) -> int:
        """E = N * C_l, entries behind the codes of a layer.

        They hold logits in layer l - 1 and are zero in the others.
        """
        return self.num_codes * self.channels

    @property
    def _keeps_logits(self) -> int:
        """The index of the layer whose entries hold the logits."""
        return min(self.at, self.num_layers) - 1

    def pack(self, codes: jax.Array, logits: jax.Array) -> jax.Array:
        """Pack codes [B, N, L, D] and logits of importance [B, N, C_l] to [B, L, N * D + E]."""
        count = len(codes)
        beside = jnp.moveaxis(codes, 1, 2).reshape(count, self.num_layers, -1)
        behind = jnp.pad(
            logits.reshape(count, 1, -1),
            ((0, 0), (self._keeps_logits, self.num_layers - 1 - self._keeps_logits), (0, 0)),
        )
        return jnp.concatenate([beside, behind], axis=2)

    def unpack(self, packed: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Unpack [B, L, N * D + E] to codes [B, N, L, D] and logits [B, N, C_l]."""
        count, width = len(packed), self.num_codes * self.code_dim
        codes = packed[:, :, :width].reshape(count, self.num_layers, self.num_codes, self.code_dim)
        return codes.swapaxes(1, 2), packed[:, self._keeps_logits, width:].reshape(
            count, self.num_codes, self.channels
        )

    def mean(self, packed: Codes) -> Codes:
        """Return the mean of each image's codes, [B, L, N * D + E] -> [B, L, D]."""
        width = self.num_codes * self.code_dim
        shape = (len(packed), self.num_layers, self.num_codes, self.code_dim)
        codes: Any = packed[:, :, :width].reshape(shape)  # NumPy says little of what mean returns
        return codes.mean(2)

    def lift(self, directions: Directions) -> Directions:
        """Return the directions for expanded codes: along each, all N codes move alike.

        Each code moves by as much as one did before. Sigma is that of the mean of an image's codes,
        in the length that N equal moves have together: moves in multiples of sigma are the same as
        of one code, moves in code units are longer by the square root of N.
        """

        def side_by_side(x: np.ndarray) -> np.ndarray:
            return np.pad(
                np.tile(x, self.num_codes), ((0, 0),) * (x.ndim - 1) + ((0, self.extra),)
            ).astype(np.float32)

        length = np.sqrt(self.num_codes)
        return directions._replace(
            vectors=side_by_side(directions.vectors / length),
            sigma=(directions.sigma * length).astype(np.float32),
            mean=side_by_side(directions.mean),
        )


def expansion(generator: Generator, *, num_codes: int, at: int) -> Expansion:
    """Lay out num_codes N codes an image, summed behind layer at = l.

    Raises ValueError for no code, or for a layer that the generator does not have.
    """
    if num_codes < 1 or not 1 <= at <= generator.depth:
        raise ValueError(
            f"expansion: needs num_codes of at least 1 and at in 1..{generator.depth}, "
            f"got {num_codes} and {at}"
        )
    codes = jax.ShapeDtypeStruct((1, generator.num_layers, generator.code_dim), jnp.float32)
    features = jax.eval_shape(
        lambda key, codes: generator.head(generator.init(key), codes, at), jax.random.key(0), codes
    )
    channels = sum(leaf.shape[-1] for leaf in jax.tree.leaves(_weighed(features)))
    return Expansion(num_codes, at, generator.num_layers, generator.code_dim, channels)


def expand(generator: Generator, layout: Expansion) -> Generator:
    """Return the generator of expanded codes. Its parameters are the generator's own.

    Its prior's N codes are equal, so that it makes the same images. The features before layer l are
    those of the N codes, [B, N, ...]. Equal arguments give the same functions, so that what is
    jitted with them is not traced anew.
    """
    return _expand(generator, layout)


@cache
def _expand(generator: Generator, layout: Expansion) -> Generator:
    def map_(
        params: Params,
        z: jax.Array,
        label: jax.Array | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> jax.Array:
        codes = generator.map(params, z, label, truncation_psi, truncation_cutoff)
        repeated = jnp.repeat(codes[:, None], layout.num_codes, axis=1)
        logits = jnp.zeros((len(codes), layout.num_codes, layout.channels), codes.dtype)
        return layout.pack(repeated, logits)

    def head(params: Params, packed: jax.Array, l: int) -> Any:
        start = generator.head(params, _together(layout, packed), 0)
        return advance(params, _apart(layout, start), packed, 0, l)

    def advance(params: Params, features: Any, packed: jax.Array, l: int, m: int) -> Any:
        if l < layout.at:
            stop = min(m, layout.at)
            together = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), features)
            features = _apart(
                layout, generator.advance(params, together, _together(layout, packed), l, stop)
            )
            if stop == layout.at:
                features = compose(features, layout.unpack(packed)[1])
            l = stop
        return generator.advance(params, features, layout.mean(packed), l, m) if m > l else features

    def tail(params: Params, features: Any, packed: jax.Array, l: int) -> jax.Array:
        stop = max(l, layout.at)
        summed = advance(params, features, packed, l, stop)
        return generator.tail(params, summed, layout.mean(packed), stop)

    def synthesize(
        params: Params,
        packed: jax.Array,
        label: jax.Array | None = None,
        noise: str = "const",
        key: jax.Array | None = None,
    ) -> jax.Array:
        if label is not None or noise != "const":
            raise ValueError(
                "expanded codes hold their classes and are synthesized with constant noise: "
                "leave label and noise out"
            )
        return tail(params, head(params, packed, 0), packed, 0)

    return dataclasses.replace(
        generator,
        code_dim=layout.num_codes * layout.code_dim + layout.extra,
        class_entries=tuple(
            n * layout.code_dim + entry
            for n in range(layout.num_codes)
            for entry in generator.class_entries
        ),
        map=map_,
        synthesize=synthesize,
        head=head,
        advance=advance,
        tail=tail,
        style=None,
    )


def compose(features: Any, logits: jax.Array) -> Any:
    """Compute sum_n features_n * importance_n (NaTra section 3.3).

    The image beside the features, in `Features`, is averaged over n.

    features: a pytree of [B, N, ..., C']. logits: [B, N, C], of the C channels in all leaves.
    """
    if isinstance(features, Features):
        return Features(
            compose(features.x, logits), None if features.rgb is None else features.rgb.mean(1)
        )
    importance = jax.nn.softmax(logits, axis=1)
    leaves, structure = jax.tree.flatten(features)
    ends = np.cumsum([leaf.shape[-1] for leaf in leaves])
    shares = jnp.split(importance, ends[:-1], axis=-1)
    summed = [
        (leaf * share.reshape(*share.shape[:2], *(1,) * (leaf.ndim - 3), -1)).sum(1)
        for leaf, share in zip(leaves, shares, strict=True)
    ]
    return jax.tree.unflatten(structure, summed)


def _weighed(features: Any) -> Any:
    """Return the part of the features that importance weighs."""
    return features.x if isinstance(features, Features) else features


def _together(layout: Expansion, packed: jax.Array) -> jax.Array:
    """Return all codes as examples of their own, [B, L, N * D + E] -> [B * N, L, D]."""
    codes, _ = layout.unpack(packed)
    return codes.reshape(-1, *codes.shape[2:])


def _apart(layout: Expansion, features: Any) -> Any:
    """Separate the codes of each image again, [B * N, ...] -> [B, N, ...], leaf by leaf."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, layout.num_codes, *leaf.shape[1:]), features)
