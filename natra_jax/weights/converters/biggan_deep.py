"""BigGAN-deep of the authors' PyTorch code (`BigGANdeep.Generator`).

    blocks.{i}.0.{conv1..4,bn1..4}, the other names as in BigGAN

Of G_depth blocks at each resolution the last upsamples: that is in no name, so it is taken from the
configuration, or is 2. Of the last convolution's many filters three are used and kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from natra_jax.types import UserError
from natra_jax.weights.converters import biggan_common as common
from natra_jax.weights.converters.biggan import Source
from natra_jax.weights.converters.checkpoint_config import agree
from natra_jax.weights.tensors import Converted, Tensors

_NAMES = {"shared.weight", "linear.weight", "output_layer.0.gain", "output_layer.2.weight"}


def recognises(names: set[str]) -> bool:
    """Tell whether a state dict's names are this family's."""
    return names >= _NAMES | {f"blocks.0.0.conv{i}.weight" for i in (1, 2, 3, 4)}


def convert(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Convert to arguments and parameters of `natra_jax.generators.biggan_deep`.

    config: the constructor's arguments. G_depth, BN_eps and SN_eps are read; what else it says has
    to agree with the tensors. Raises UserError where it does not, or where the tensors do not fit.
    """
    source = Source(tensors, config)
    depth = common.whole(config, "G_depth", 2)
    count = source.count_blocks(common.MAX_DOUBLINGS * min(depth, 64))
    if count % depth:
        raise UserError(
            f"{count} blocks are not {depth} at each resolution: config must have the G_depth that "
            "the network was trained with"
        )
    resolution = 4 * 2 ** (count // depth)
    channels = [tensors.shape("blocks.0.0.conv1.weight", 4)[1]]
    channels += [tensors.shape(f"blocks.{i}.0.conv4.weight", 4)[0] for i in range(count)]
    label_dim, embed_dim = tensors.shape("shared.weight", 2)
    code_dim = tensors.shape("linear.weight", 2)[1]
    z_dim = common.z_dim(code_dim, embed_dim, "linear.weight", "shared.weight")
    attention = [i + 1 for i in range(count) if source.has_attention(i)]
    source.check_common(
        resolution,
        label_dim,
        embed_dim,
        sorted({4 * 2 ** ((layer - 1) // depth + 1) for layer in attention}),
    )
    agree(config, {("dim_z",): z_dim, ("hier",): True, ("G_shared",): True})

    def z_first(kernel: np.ndarray) -> np.ndarray:
        """Return a kernel [code, ...] with z's rows first; the file has the class's first."""
        return np.concatenate([kernel[embed_dim:], kernel[:embed_dim]])

    linear = source.linear(channels[0], code_dim)
    layers, norms = [{**linear, "kernel": z_first(linear["kernel"])}], [{}]
    for i, (before, after) in enumerate(zip(channels[:-1], channels[1:], strict=True)):
        block, statistics = {}, {}
        for j, shape in enumerate(common.bottleneck_shapes(before, after)):
            block[f"conv{j}"] = source.convolution(f"blocks.{i}.0.conv{j + 1}", *shape)
            norm, width = f"blocks.{i}.0.bn{j + 1}", shape[1]
            block[f"norm{j}"] = {
                side: z_first(common.kernel(source.weight(f"{norm}.{side}", width, code_dim)))
                for side in ("gain", "bias")
            }
            statistics[f"norm{j}"] = {
                name: values[None] for name, values in source.statistics(norm, width).items()
            }
        if source.has_attention(i):
            block["attention"] = source.attention(i, after)
        layers.append(block)
        norms.append(statistics)
    output, output_statistics = source.output(channels[-1], None)
    params = {
        "mapping": {"embedding": tensors.take("shared.weight")},
        "layers": layers,
        "output": output,
        "buffers": {
            "layers": norms,
            "output": {name: values[None] for name, values in output_statistics.items()},
        },
    }
    source.close()
    arguments = {
        "resolution": resolution,
        "channels": channels,
        "upsample": [i % depth == depth - 1 for i in range(count)],
        "z_dim": z_dim,
        "embed_dim": embed_dim,
        "label_dim": label_dim,
        "attention": attention,
        "eps": source.eps,
        "output_eps": 1e-5,  # whatever BN_eps is
        "n_stats": 1,
        "truncation": None,
    }
    return Converted(arguments, params, source.notes)
