"""What is the same in all families: layers that follow one another, so that a generator can be split behind each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from natra_jax.types import Generator, Params


def layered(
    *,
    family: str,
    num_layers: int,
    code_dim: int,
    resolution: int,
    label_dim: int = 0,
    init: Callable[[jax.Array], Params],
    sample: Callable[[jax.Array, int], jax.Array],
    map: Callable[..., jax.Array],
    start: Callable[[Params, int], Any],
    apply: Callable[[Params, Any, jax.Array | None, int, Any], Any],
    finish: Callable[[Params, Any], jax.Array],
    style: Callable[[Params, int], jax.Array],
    depth: int | None = None,
    class_entries: tuple[int, ...] = (),
    with_label: Callable[[Params, jax.Array, jax.Array], jax.Array] | None = None,
    noise_maps: Callable[[Params, Any, jax.Array | None, int], Sequence[Any]] | None = None,
) -> Generator:
    """The Generator of these parts; what is not described here is as in `Generator`.

    start: (params, count) -> features before the first layer, of so many examples.
    apply: (params, features, code [B, D], layer, noise) -> features behind the layer; code None for layers that take none.
    finish: (params, features) -> images, from the features behind the last layer.
    depth: number of layers; left out, num_layers. with_label: (params, codes, label) -> codes with this label in their class_entries.
    noise_maps: (params, noise, key, count) -> for each layer what apply gets as its noise; left out where a family has none.
    """
    depth = num_layers if depth is None else depth

    def no_noise(params, noise, key, count):
        if noise not in ("const", "none"):
            raise ValueError(
                f"{family} has no noise: 'const' and 'none' are the same to it, and {noise!r} cannot be"
            )
        return [None] * depth

    maps_of = noise_maps or no_noise

    def run(params, features, codes, l, m, noises):
        for layer in range(l, m):
            features = apply(
                params,
                features,
                codes[:, layer] if layer < num_layers else None,
                layer,
                noises[layer],
            )
        return features

    def head(params, codes, l):
        return advance(params, start(params, len(codes)), codes, 0, l)

    def advance(params, features, codes, l, m):
        return run(params, features, codes, l, m, maps_of(params, "const", None, len(codes)))

    def tail(params, features, codes, l):
        return finish(params, advance(params, features, codes, l, depth))

    def synthesize(params, codes, label=None, noise="const", key=None):
        if label is not None:
            if with_label is None:
                raise ValueError(
                    f"{family}: codes hold no class, a label has no place there: leave it out"
                )
            codes = with_label(params, codes, label)
        noises = maps_of(params, noise, key, len(codes))
        return finish(params, run(params, start(params, len(codes)), codes, 0, depth, noises))

    return Generator(
        family=family,
        num_layers=num_layers,
        depth=depth,
        code_dim=code_dim,
        resolution=resolution,
        label_dim=label_dim,
        init=init,
        sample=sample,
        map=map,
        synthesize=synthesize,
        head=head,
        advance=advance,
        tail=tail,
        style=style,
        class_entries=class_entries,
    )
