"""BigGAN of the authors' PyTorch code (Brock et al. 2019; `BigGAN.Generator`), and TF Hub's by it.

    shared.weight, linear.*, blocks.{i}.0.{conv1,conv2,conv_sc,bn1,bn2}.*,
    blocks.{i}.1.* (attention), output_layer.{0,2}.*

Every weight is divided by the spectral norm that one step of power iteration from its stored u0
gives, as the network does also in evaluation; where there is no u0 at all, none was trained so. The
statistics of BatchNorm are of one of three kinds:

    stored_{mean,var}         running averages
    bn.stored_{mean,var}      the same; sums, to be divided by bn.accumulation_counter, if that
                              counts anything ("standing statistics")
    bn.running_{mean,var}     cross-replica. In evaluation on one device that code adds the gain;
                              here it multiplies, as in training
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from natra_jax.types import Params, UserError
from natra_jax.weights.converters import biggan_common as common
from natra_jax.weights.converters.checkpoint_config import agree
from natra_jax.weights.tensors import Converted, Tensors

_NAMES = {
    "linear.weight",
    "output_layer.0.gain",
    "output_layer.2.weight",
    "blocks.0.0.conv1.weight",
    "blocks.0.0.conv2.weight",
}
# further singular vectors, a log of the singular values, a count of batches
_UNUSED = re.compile(r".*\.(u[1-9]\d*|sv\d+|num_batches_tracked)")


def recognises(names: set[str]) -> bool:
    """Tell whether a state dict's names are this family's."""
    return names >= _NAMES and "blocks.0.0.conv3.weight" not in names


def convert(tensors: Tensors, config: dict[str, Any]) -> Converted:
    """Convert to arguments and parameters of `natra_jax.generators.biggan`.

    config: the constructor's arguments. BN_eps and SN_eps are read; what else it says has to agree
    with the tensors. Raises UserError where it does not, or where the tensors do not fit.
    """
    source = Source(tensors, config)
    count = source.count_blocks(common.MAX_DOUBLINGS)
    resolution = 4 * 2**count
    channels = [tensors.shape("blocks.0.0.conv1.weight", 4)[1]]
    channels += [tensors.shape(f"blocks.{i}.0.conv1.weight", 4)[0] for i in range(count)]
    chunk = tensors.shape("linear.weight", 2)[1]
    first_gain = tensors.shape("blocks.0.0.bn1.gain.weight", 2)
    shared = "shared.weight" in tensors
    label_dim, embed_dim = tensors.shape("shared.weight", 2) if shared else (first_gain[0], 0)
    hierarchical = shared and first_gain[1] != embed_dim
    attention = [4 * 2 ** (i + 1) for i in range(count) if source.has_attention(i)]
    _check_z(config, chunk, count + 1, hierarchical)
    source.check_common(resolution, label_dim, embed_dim, attention)
    agree(config, {("hier",): hierarchical, ("G_shared",): shared})

    def condition(name: str, width: int) -> np.ndarray:
        """Return the kernel [I, width] from [chunk, class], or the class, to a gain or bias."""
        if not shared:
            return tensors.take(f"{name}.weight", label_dim, width)
        weight = source.weight(name, width, embed_dim + chunk if hierarchical else embed_dim)
        # the file has the class first
        return common.kernel(np.concatenate([weight[:, embed_dim:], weight[:, :embed_dim]], 1))

    layers, norms = [source.linear(channels[0], chunk)], [{}]
    for i, (before, after) in enumerate(zip(channels[:-1], channels[1:], strict=True)):
        name = f"blocks.{i}.0"
        block = {
            "conv1": source.convolution(f"{name}.conv1", after, before, 3, 3),
            "conv2": source.convolution(f"{name}.conv2", after, after, 3, 3),
            "shortcut": source.convolution(f"{name}.conv_sc", after, before, 1, 1),
        }
        widths = {"norm1": (f"{name}.bn1", before), "norm2": (f"{name}.bn2", after)}
        block |= {
            norm: {side: condition(f"{where}.{side}", width) for side in ("gain", "bias")}
            for norm, (where, width) in widths.items()
        }
        if source.has_attention(i):
            block["attention"] = source.attention(i, after)
        layers.append(block)
        norms.append(
            {norm: source.statistics(where, width) for norm, (where, width) in widths.items()}
        )
    output, output_statistics = source.output(channels[-1], 3)
    params = {
        "mapping": {"embedding": tensors.take("shared.weight")} if shared else {},
        "layers": layers,
        "output": output,
        "buffers": {"layers": norms, "output": output_statistics},
    }
    source.close()
    arguments = {
        "resolution": resolution,
        "channels": channels,
        "z_dim": chunk * (count + 1) if hierarchical else chunk,
        "label_dim": label_dim,
        "embed_dim": embed_dim,
        "hierarchical": hierarchical,
        "attention": attention,
        "eps": source.eps,
        "output_eps": 1e-5,  # whatever BN_eps is
        "truncation": None,
    }
    return Converted(arguments, params, source.notes)


def _check_z(config: dict[str, Any], chunk: int, slots: int, hierarchical: bool) -> None:
    """Raise UserError if config has another dim_z than so many slots of chunk numbers have."""
    if hierarchical and config.get("dim_z") is not None:
        if common.whole(config, "dim_z", 1) // slots != chunk:
            raise UserError(
                f"config: dim_z does not agree with the tensors, by which it is {chunk * slots} or "
                "little more"
            )
    else:
        agree(config, {("dim_z",): chunk})


class Source:
    """A state dict of the authors' code, of BigGAN or BigGAN-deep."""

    def __init__(self, tensors: Tensors, config: dict[str, Any]) -> None:
        common.require_filled(tensors)
        names = tensors.names()
        self._tensors, self._config = tensors, config
        # the converter of TF Hub modules leaves out the log that the training code keeps
        self._spectral = any(name.endswith(".u0") for name in names)
        hub = self._spectral and not any(name.endswith(".sv0") for name in names)
        self.eps = common.epsilon(config, "BN_eps", 1e-4 if hub else 1e-5)
        self._sn_eps = common.epsilon(config, "SN_eps", 1e-4 if hub else 1e-12)
        # with stored statistics both are the same
        common.one_of(config, "norm_style", ("bn", "in"))
        common.one_of(config, "G_nl", ("relu", "inplace_relu"))
        agree(config, {("bottom_width",): 4})
        hub_eps = hub and config.get("BN_eps") is None
        self.notes = (
            ("taken for a TF Hub module, which has BN_eps 1e-4, since no sv0 is there",)
            if hub_eps
            else ()
        )

    def count_blocks(self, most: int) -> int:
        """Return the number of blocks. Raises UserError if it is 0 or above most."""
        count = 0
        while f"blocks.{count}.0.conv1.weight" in self._tensors:
            count += 1
        if not 1 <= count <= most:
            raise UserError(f"{count} blocks: there must be 1 to {most}")
        return count

    def check_common(
        self, resolution: int, label_dim: int, embed_dim: int, attention: list[int]
    ) -> None:
        """Raise UserError if the configuration disagrees with what the tensors show.

        resolution: pixels. attention: the resolutions behind whose blocks there is attention.
        """
        agree(self._config, {("resolution",): resolution})
        agree(self._config, {("n_classes",): label_dim})
        shared_dim = self._config.get("shared_dim")
        if embed_dim and not (type(shared_dim) is int and shared_dim == 0):  # 0: as long as z
            agree(self._config, {("shared_dim",): embed_dim})
        found = self._config.get("G_attn")
        if found is not None:
            if not isinstance(found, str) or not re.fullmatch(
                r"[0-9]{1,4}(_[0-9]{1,4}){0,9}", found
            ):
                raise UserError(
                    "config: G_attn must be resolutions such as 64, or 32_64; 0 for none"
                )
            asked = {int(part) for part in found.split("_")}
            if {at for at in asked if 4 < at <= resolution} != set(attention):
                raise UserError(
                    "config: G_attn does not agree with the tensors, which have attention at "
                    f"{attention or 'no resolution'}"
                )

    def weight(self, name: str, *shape: int | None) -> np.ndarray:
        """Take a weight, divided by its spectral norm if the network was trained so (G_param)."""
        weight = self._tensors.take(f"{name}.weight", *shape)
        if not self._spectral:
            return weight
        u = self._tensors.take(f"{name}.u0", 1, len(weight))
        return common.by_power_iteration(f"{name}.weight", weight, u[0], self._sn_eps)

    def convolution(self, name: str, *shape: int) -> Params:
        """Take a convolution {kernel, bias}. shape: the weight's, [O, I, kh, kw]."""
        return {
            "kernel": common.kernel(self.weight(name, *shape)),
            "bias": self._tensors.take(f"{name}.bias", shape[0]),
        }

    def linear(self, channels: int, inputs: int) -> Params:
        """Take the linear layer [inputs, 16 * channels], whose output is 4x4 features.

        Channels are last in its output; in the file they are first.
        """
        weight = (
            self.weight("linear", 16 * channels, inputs)
            .reshape(channels, 16, inputs)
            .swapaxes(0, 1)
        )
        bias = self._tensors.take("linear.bias", 16 * channels).reshape(channels, 16).T
        return {
            "kernel": common.kernel(weight.reshape(-1, inputs)),
            "bias": bias.reshape(-1).copy(),
        }

    def has_attention(self, block: int) -> bool:
        """Tell whether there is attention behind the block."""
        return f"blocks.{block}.1.gamma" in self._tensors

    def attention(self, block: int, channels: int) -> Params:
        """Take the attention behind the block, over so many channels."""
        kernels = {
            side: common.kernel(self.weight(f"blocks.{block}.1.{side}", *shape))
            for side, shape in common.attention_shapes(channels).items()
        }
        return {**kernels, "gamma": common.scalar(self._tensors, f"blocks.{block}.1.gamma")}

    def statistics(self, name: str, channels: int) -> Params:
        """Take the statistics {mean, variance} [channels] of a BatchNorm, of whichever kind."""
        kinds = (f"{name}.bn.stored", f"{name}.bn.running", f"{name}.stored")
        kind = next((kind for kind in kinds if f"{kind}_mean" in self._tensors), kinds[-1])
        mean, variance = (
            self._tensors.take(f"{kind}_{side}", channels) for side in ("mean", "var")
        )
        counter = f"{name}.bn.accumulation_counter"
        if (
            kind == kinds[0]
            and counter in self._tensors
            and (times := common.scalar(self._tensors, counter)) > 0
        ):
            with np.errstate(all="ignore"):
                mean, variance = (
                    common.finite(f"{kind}_mean", sums / times) for sums in (mean, variance)
                )
        return common.checked_statistics(name, mean, variance)

    def output(self, channels: int, filters: int | None) -> tuple[Params, Params]:
        """Take (params, statistics) of the last layers.

        filters: of the last convolution; None: any number, of which the image is the first three.
        """
        name = "output_layer.2"
        if filters is None:
            filters = self._tensors.shape(f"{name}.weight", 4)[0]
        common.require_image(f"{name}.weight", filters)
        convolution = self.convolution(name, filters, channels, 3, 3)
        norm = {
            side: self._tensors.take(f"output_layer.0.{side}", channels)
            for side in ("gain", "bias")
        }
        return (
            {"norm": norm, **common.image_filters(convolution)},
            self.statistics("output_layer.0", channels),
        )

    def close(self) -> None:
        """Raise UserError if a tensor was not taken, but for those that are not needed."""
        self._tensors.drop(_UNUSED.fullmatch)
        self._tensors.close()
