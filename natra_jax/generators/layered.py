"""The frame of all families: layers that follow one another, and codes drawn towards their mean.

A family says what a layer does; here it becomes a `Generator` that can be split behind each layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from natra_jax.generators.ops import truncate
from natra_jax.types import Generator, Params

ApplyFn = Callable[[Params, Any, Any, int, Any], Any]
"""(params, features, code, layer, noise) -> features behind the layer; code [B, D], or None for
layers that take none"""
FinishFn = Callable[[Params, Any], jax.Array]
"""(params, features behind the last layer) -> images [B, H, W, C]"""


def layered(
    *,
    family: str,
    num_layers: int,
    code_dim: int,
    resolution: int,
    channels: int = 3,
    label_dim: int = 0,
    init: Callable[[jax.Array], Params],
    sample: Callable[[jax.Array, int], jax.Array],
    map: Callable[[Params, jax.Array, jax.Array | None], jax.Array],
    mean: Callable[[Params], jax.Array] | None = None,
    start: Callable[[Params, int], Any],
    apply: ApplyFn,
    finish: FinishFn,
    style: Callable[[Params, int], jax.Array],
    depth: int | None = None,
    class_entries: tuple[int, ...] = (),
    with_label: Callable[[Params, jax.Array, jax.Array], jax.Array] | None = None,
    noise_maps: Callable[[Params, Any, jax.Array | None, int], Sequence[Any]] | None = None,
    always_truncate: bool = False,
) -> Generator:
    """Make the Generator of these parts.

    Args:
      family: its name.
      num_layers: L, layers that take a code.
      code_dim: D.
      resolution: H = W of its images, in pixels.
      channels: C of its images.
      label_dim: number of classes; 0: unconditional.
      init: (key) -> params.
      sample: (key, n) -> z [n, Z].
      map: (params, z, label) -> codes [B, L, D], not truncated.
      mean: (params) -> [D] without class entries, the code that the truncation trick draws towards;
        left out: 0.
      start: (params, count) -> features before the first layer, of so many examples.
      apply: one layer, see `ApplyFn`.
      finish: the image, see `FinishFn`.
      style: (params, l) -> [outputs, D], the matrix by which codes enter layer l.
      depth: number of layers; left out: num_layers.
      class_entries: the entries of each code that hold its class, the last ones.
      with_label: (params, codes, label) -> codes with this label in their class_entries.
      noise_maps: (params, noise, key, count) -> the noise of each layer, as apply gets it; left out
        where a family has none.
      always_truncate: see `natra_jax.generators.ops.truncate`.
    """
    depth = num_layers if depth is None else depth
    free = code_dim - len(class_entries)

    def no_noise(params: Params, noise: Any, key: jax.Array | None, count: int) -> Sequence[Any]:
        if noise not in ("const", "none"):
            raise ValueError(
                f"{family} has no noise: 'const' and 'none' are the same to it, and {noise!r} "
                "cannot be"
            )
        return [None] * depth

    maps_of = noise_maps or no_noise

    def truncated_map(
        params: Params,
        z: jax.Array,
        label: jax.Array | None = None,
        truncation_psi: float | jax.Array = 1.0,
        truncation_cutoff: int | None = None,
    ) -> jax.Array:
        codes = map(params, z, label)
        center = jnp.zeros(free) if mean is None else mean(params)
        truncated = truncate(
            codes[..., :free], center, truncation_psi, truncation_cutoff, always=always_truncate
        )
        if not class_entries:
            return truncated
        return jnp.concatenate([truncated, codes[..., free:]], axis=-1)

    def run(
        params: Params, features: Any, codes: jax.Array, l: int, m: int, noises: Sequence[Any]
    ) -> Any:
        for layer in range(l, m):
            code = codes[:, layer] if layer < num_layers else None
            features = apply(params, features, code, layer, noises[layer])
        return features

    def head(params: Params, codes: jax.Array, l: int) -> Any:
        return advance(params, start(params, len(codes)), codes, 0, l)

    def advance(params: Params, features: Any, codes: jax.Array, l: int, m: int) -> Any:
        return run(params, features, codes, l, m, maps_of(params, "const", None, len(codes)))

    def tail(params: Params, features: Any, codes: jax.Array, l: int) -> jax.Array:
        return finish(params, advance(params, features, codes, l, depth))

    def synthesize(
        params: Params,
        codes: jax.Array,
        label: jax.Array | None = None,
        noise: Any = "const",
        key: jax.Array | None = None,
    ) -> jax.Array:
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
        map=truncated_map,
        synthesize=synthesize,
        head=head,
        advance=advance,
        tail=tail,
        style=style,
        channels=channels,
        class_entries=class_entries,
    )
