"""Networks as torchvision lays them out: random ResNet state dicts, what they compute, in NumPy and float64, and the golden VGG-16."""

from __future__ import annotations

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden" / "vgg16_tiny.npz"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
WIDTHS, BLOCKS, CLASSES = (2, 3, 3, 4), (1, 2, 1, 1), 5  # of the small ResNet


def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return {name: file[name] for name in file.files}


def of_golden(prefix: str = "p/") -> dict[str, np.ndarray]:
    """Its state dict, or with 'p_lpips/' that of LPIPS."""
    return {name.removeprefix(prefix): array for name, array in golden().items() if name.startswith(prefix)}


def nhwc(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 2, 3, 1)


def resnet_state(widths=WIDTHS, blocks=BLOCKS, classes=CLASSES, seed: int = 0) -> dict[str, np.ndarray]:
    """A random state dict of a ResNet of bottlenecks."""
    rng, state = np.random.default_rng(seed), {}

    def conv(name, outputs, inputs, window):
        state[f"{name}.weight"] = (rng.normal(size=(outputs, inputs, window, window)) / np.sqrt(inputs * window)).astype(np.float32)

    def norm(name, channels):
        for leaf, low in {"weight": 0.5, "bias": -0.5, "running_mean": -0.5, "running_var": 0.5}.items():
            state[f"{name}.{leaf}"] = rng.uniform(low, 1.5, channels).astype(np.float32)
        state[f"{name}.num_batches_tracked"] = np.array(7)

    conv("conv1", widths[0], 3, 7)
    norm("bn1", widths[0])
    inputs = widths[0]
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
        for i in range(count):
            name = f"layer{stage}.{i}"
            for part, sizes in {"1": (width, inputs, 1), "2": (width, width, 3), "3": (4 * width, width, 1)}.items():
                conv(f"{name}.conv{part}", *sizes)
                norm(f"{name}.bn{part}", sizes[0])
            if i == 0:
                conv(f"{name}.downsample.0", 4 * width, inputs, 1)
                norm(f"{name}.downsample.1", 4 * width)
            inputs = 4 * width
    state["fc.weight"] = rng.normal(size=(classes, inputs)).astype(np.float32)
    state["fc.bias"] = rng.normal(size=classes).astype(np.float32)
    return state


def advbn_names(cut: int, state: dict[str, np.ndarray], twins: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict of a ResNet as AdvBN's authors write it: their layer behind stage `cut`, the BatchNorm of twins beside its own."""
    made = {}
    for name, array in state.items():
        first, *rest = name.split(".")
        if first in ("conv1", "bn1"):
            made[f"feature_x.{['conv1', 'bn1'].index(first)}.{rest[0]}"] = array
        elif first == "fc":
            made[f"head.fc.{rest[0]}"] = array
        else:
            stage, block = int(first[-1]), rest[0]
            place = f"feature_x.{stage + 3}.{block}" if stage <= cut else f"head.{first}_{block}"
            inside = ".".join(rest[1:]).replace("downsample.0", "downsample.conv").replace("downsample.1", "downsample.bn")
            if "bn" not in inside:
                made[f"{place}.{inside}"] = array
            else:
                made[f"{place}.{inside.replace('bn', 'clean_bn')}"] = array
                made[f"{place}.{inside.replace('bn', 'adv_bn')}"] = twins[name]
    return made


def resnet(state: dict[str, np.ndarray], images: np.ndarray, blocks=BLOCKS) -> tuple[list[np.ndarray], np.ndarray]:
    """What leaves each stage [B, H, W, C], and the logits, of images [B, H, W, 3] in [-1, 1], in evaluation."""

    def conv(x, name, stride=1):
        w = state[f"{name}.weight"].astype(np.float64)
        window = w.shape[-1]
        half = window // 2
        height, width = ((n + 2 * half - window) // stride + 1 for n in x.shape[2:])
        x = np.pad(x, ((0, 0), (0, 0), (half, half), (half, half)))
        y = np.zeros((len(x), len(w), height, width))
        for i in range(window):
            for j in range(window):
                seen = x[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
                y += np.einsum("bchw,oc->bohw", seen, w[:, :, i, j])
        return y

    def norm(x, name):
        scale, bias, mean, var = (
            state[f"{name}.{leaf}"].astype(np.float64)[:, None, None] for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    def relu(x):
        return np.maximum(x, 0)

    def pool(x):
        height, width = ((n - 1) // 2 + 1 for n in x.shape[2:])
        x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
        rows = [[x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((2, 3)) for j in range(width)] for i in range(height)]
        return np.array(rows).transpose(2, 3, 0, 1)

    x = ((images.astype(np.float64) + 1) / 2 - MEAN) / STD
    x = pool(relu(norm(conv(x.transpose(0, 3, 1, 2), "conv1", 2), "bn1")))
    outputs = []
    for stage, count in enumerate(blocks, start=1):
        for i in range(count):
            name, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            y = relu(norm(conv(x, f"{name}.conv1"), f"{name}.bn1"))
            y = relu(norm(conv(y, f"{name}.conv2", stride), f"{name}.bn2"))
            y = norm(conv(y, f"{name}.conv3"), f"{name}.bn3")
            shortcut = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1") if i == 0 else x
            x = relu(y + shortcut)
        outputs.append(nhwc(x))
    return outputs, x.mean((2, 3)) @ state["fc.weight"].T.astype(np.float64) + state["fc.bias"]
