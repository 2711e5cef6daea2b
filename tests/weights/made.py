"""Small random checkpoints, one of every family at 16 pixels.

Each is in another of the formats that people have.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.weights import writers
from tests.weights.biggan_numpy import random_state

FAMILIES = (
    "stylegan2_nv",
    "stylegan2_rosinality",
    "stylegan1",
    "progan",
    "biggan",
    "biggan_deep",
    "biggan_deep_hf",
    "dcgan",
)


def file(family: str, folder: Path) -> Path:
    """The checkpoint's path, in folder or among the golden files."""
    path = folder / family
    match family:
        case "stylegan2_nv":
            tensors, config, _ = writers.golden("stylegan2_nv_16_fp16")
            path.write_bytes(writers.nvidia(tensors, config, channels_last=True))
        case "stylegan2_rosinality":
            path.write_bytes(writers.torch_zip({"g": {}, "g_ema": rosinality()}, root="550000"))
        case "stylegan1":
            path = writers.GOLDEN / "tfpkl_stylegan1_16.pkl"
        case "progan":
            path = writers.GOLDEN / "tfpkl_progan_16.pkl"
        case "biggan":
            path.write_bytes(
                writers.safetensors(random_state(channels=(8, 8, 8), attention=(1,), z=3))
            )
        case "biggan_deep":
            path.write_bytes(
                writers.torch_legacy(random_state(deep=True, channels=(8, 8, 8, 8, 4)))
            )
        case "biggan_deep_hf":
            writers.huggingface(path, *hugging_face(), shards=2)
        case "dcgan":
            path.write_bytes(writers.npz(dcgan()))
    return path


def dcgan(
    channels: tuple[int, ...] = (6, 4, 3), z_dim: int = 5, seed: int = 0
) -> dict[str, np.ndarray]:
    """4 px, doubled by every layer but the first, which leads from z_dim to channels[0]."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for layer, (before, after) in enumerate(zip((z_dim, *channels), channels, strict=False)):
        tensors[f"main.{3 * layer}.weight"] = rng.normal(size=(before, after, 4, 4)) * 0.3
        if layer < len(channels) - 1:
            for name, value in {
                "weight": 1,
                "bias": 0,
                "running_mean": 0,
                "running_var": 1,
            }.items():
                tensors[f"main.{3 * layer + 1}.{name}"] = value + 0.2 * rng.uniform(size=after)
            tensors[f"main.{3 * layer + 1}.num_batches_tracked"] = np.array(7)
    return {
        name: array if array.dtype == int else array.astype(np.float32)
        for name, array in tensors.items()
    }


def rosinality() -> dict[str, np.ndarray]:
    """The golden one without its last resolution, and like a trained one without a mean w."""
    tensors = writers.golden("stylegan2_rosinality_32").tensors
    last = ("convs.4.", "convs.5.", "to_rgbs.2.", "noises.noise_5", "noises.noise_6")
    return {name: array for name, array in tensors.items() if not name.startswith(last)}


def hugging_face(
    classes: int = 3, embed: int = 4, z: int = 5, statistics: int = 3
) -> tuple[dict[str, np.ndarray], dict]:
    """Return (tensors, config.json): three blocks, two doubling, attention behind the second."""
    rng = np.random.default_rng(0)
    width, blocks, tensors = 2, {0: (True, 16, 16), 1: (True, 16, 8), 3: (False, 8, 8)}, {}

    def normed(name, *shape, bias=True):
        weight = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        left, _, right = np.linalg.svd(weight.reshape(len(weight), -1), full_matrices=False)
        tensors.update(
            {
                f"{name}.weight_orig": weight,
                f"{name}.weight_u": left[:, 0],
                f"{name}.weight_v": right[0],
            }
        )
        if bias:
            tensors[f"{name}.bias"] = 0.1 * rng.normal(size=shape[0])

    def stored(name, channels):
        tensors[f"{name}.running_means"] = 0.1 * rng.normal(size=(statistics, channels))
        tensors[f"{name}.running_vars"] = rng.uniform(0.5, 1, (statistics, channels))

    tensors["embeddings.weight"] = rng.normal(size=(embed, classes))
    normed("generator.gen_z", 16 * 16, z + embed)
    for i, (_, before, after) in blocks.items():
        inner = before // 4
        shapes = [(inner, before, 1), (inner, inner, 3), (inner, inner, 3), (after, inner, 1)]
        for j, (outputs, inputs, window) in enumerate(shapes):
            normed(f"generator.layers.{i}.conv_{j}", outputs, inputs, window, window)
            stored(f"generator.layers.{i}.bn_{j}", inputs)
            for what in ("scale", "offset"):
                normed(f"generator.layers.{i}.bn_{j}.{what}", inputs, z + embed, bias=False)
    for what, (outputs, inputs) in {
        "theta": (1, 8),
        "phi": (1, 8),
        "g": (4, 8),
        "o_conv": (8, 4),
    }.items():
        normed(f"generator.layers.2.snconv1x1_{what}", outputs, inputs, 1, 1, bias=False)
    tensors["generator.layers.2.gamma"] = np.full(1, 0.5)
    tensors["generator.bn.weight"], tensors["generator.bn.bias"] = np.ones(8), np.zeros(8)
    stored("generator.bn", 8)
    normed("generator.conv_to_rgb", width * 2, 8, 3, 3)
    config = {
        "layers": [[up, before // 4, after // 4] for up, before, after in blocks.values()],
        "eps": 1e-4,
        "z_dim": z,
    }
    return {name: array.astype(np.float32) for name, array in tensors.items()}, config
