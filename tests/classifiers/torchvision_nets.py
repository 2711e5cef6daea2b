"""Networks as torchvision lays them out: random state dicts, what they compute, in NumPy and
float64, and the golden VGG-16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden" / "vgg16_tiny.npz"
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
WIDTHS, BLOCKS, CLASSES = (2, 3, 3, 4), (1, 2, 1, 1), 5  # of the small ResNet
VGG_WIDTHS, VGG_DENSE = (3, 4, 4, 5, 3), (6, 5)  # of the small VGG-16 with BatchNorm
VGG_CONVOLUTIONS = {
    0: 0,
    3: 0,
    7: 1,
    10: 1,
    14: 2,
    17: 2,
    20: 2,
    24: 3,
    27: 3,
    30: 3,
    34: 4,
    37: 4,
    40: 4,
}  # number among features: block
State = dict[str, np.ndarray]


def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as file:
        return {name: file[name] for name in file.files}


def of_golden(prefix: str = "p/") -> dict[str, np.ndarray]:
    """Its state dict, or with 'p_lpips/' that of LPIPS."""
    return {
        name.removeprefix(prefix): array
        for name, array in golden().items()
        if name.startswith(prefix)
    }


def nhwc(x: np.ndarray) -> np.ndarray:
    return x.transpose(0, 2, 3, 1)


def resnet_state(
    widths=WIDTHS, blocks=BLOCKS, classes=CLASSES, seed: int = 0, basic: bool = False
) -> State:
    """A random state dict of a ResNet of bottlenecks, or of basic blocks."""
    rng, state = np.random.default_rng(seed), {}
    expansion = 1 if basic else 4
    _draw_conv(rng, state, "conv1", widths[0], 3, 7)
    _draw_norm(rng, state, "bn1", widths[0])
    inputs = widths[0]
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True), start=1):
        outputs = expansion * width
        for i in range(count):
            name = f"layer{stage}.{i}"
            shapes = (
                [(width, inputs, 3), (width, width, 3)]
                if basic
                else [(width, inputs, 1), (width, width, 3), (outputs, width, 1)]
            )
            for part, shape in enumerate(shapes, start=1):
                _draw_conv(rng, state, f"{name}.conv{part}", *shape)
                _draw_norm(rng, state, f"{name}.bn{part}", shape[0])
            if i == 0 and (stage > 1 or inputs != outputs):
                _draw_conv(rng, state, f"{name}.downsample.0", outputs, inputs, 1)
                _draw_norm(rng, state, f"{name}.downsample.1", outputs)
            inputs = outputs
    _draw_dense(rng, state, "fc", classes, inputs)
    return state


def vgg_state(seed: int = 0) -> State:
    """A random state dict of a small VGG-16 with BatchNorm."""
    rng, state, inputs = np.random.default_rng(seed), {}, 3
    for number, block in VGG_CONVOLUTIONS.items():
        outputs = VGG_WIDTHS[block]
        _draw_conv(rng, state, f"features.{number}", outputs, inputs, 3)
        state[f"features.{number}.bias"] = rng.normal(size=outputs).astype(np.float32)
        _draw_norm(rng, state, f"features.{number + 1}", outputs)
        inputs = outputs
    inputs *= 7 * 7
    for number, outputs in zip((0, 3, 6), (*VGG_DENSE, CLASSES), strict=True):
        _draw_dense(rng, state, f"classifier.{number}", outputs, inputs)
        inputs = outputs
    return state


def _draw_conv(rng, state: State, name: str, outputs: int, inputs: int, window: int) -> None:
    state[f"{name}.weight"] = (
        rng.normal(size=(outputs, inputs, window, window)) / np.sqrt(inputs * window)
    ).astype(np.float32)


def _draw_norm(rng, state: State, name: str, channels: int) -> None:
    for leaf, low in {
        "weight": 0.5,
        "bias": -0.5,
        "running_mean": -0.5,
        "running_var": 0.5,
    }.items():
        state[f"{name}.{leaf}"] = rng.uniform(low, 1.5, channels).astype(np.float32)
    state[f"{name}.num_batches_tracked"] = np.array(7)


def _draw_dense(rng, state: State, name: str, outputs: int, inputs: int) -> None:
    state[f"{name}.weight"] = (rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)).astype(
        np.float32
    )
    state[f"{name}.bias"] = rng.normal(size=outputs).astype(np.float32)


def advbn_names(cut: int, state: State, auxiliary: State) -> State:
    """The state dict of a ResNet as AdvBN's authors write it: their layer behind stage `cut`, the
    auxiliary BatchNorm beside its own.
    """
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
            inside = (
                ".".join(rest[1:])
                .replace("downsample.0", "downsample.conv")
                .replace("downsample.1", "downsample.bn")
            )
            if "bn" not in inside:
                made[f"{place}.{inside}"] = array
            else:
                made[f"{place}.{inside.replace('bn', 'clean_bn')}"] = array
                made[f"{place}.{inside.replace('bn', 'adv_bn')}"] = auxiliary[name]
    return made


def resnet(state: State, images: np.ndarray, blocks=BLOCKS) -> tuple[list[np.ndarray], np.ndarray]:
    """What leaves each stage [B, H, W, C], and the logits, of images [B, H, W, 3] in [-1, 1], in
    evaluation.
    """
    last = 3 if "layer1.0.conv3.weight" in state else 2
    x = _conv(state, _standardised(images), "conv1", 2)
    x = _pool(_relu(_norm(state, x, "bn1")), window=3)
    outputs = []
    for stage, count in enumerate(blocks, start=1):
        for i in range(count):
            name, stride, y = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1, x
            for part in range(1, last + 1):
                # the first convolution of 3x3 pixels takes the stride
                y = _conv(state, y, f"{name}.conv{part}", stride if part == last - 1 else 1)
                y = _norm(state, y, f"{name}.bn{part}")
                y = _relu(y) if part < last else y
            if f"{name}.downsample.0.weight" in state:
                x = _norm(
                    state, _conv(state, x, f"{name}.downsample.0", stride), f"{name}.downsample.1"
                )
            x = _relu(y + x)
        outputs.append(nhwc(x))
    return outputs, _dense(state, x.mean((2, 3)), "fc")


def vgg(state: State, images: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """What leaves each block [B, H, W, C] of the VGG-16 with BatchNorm, and the logits, as
    `resnet`.
    """
    x, outputs, before = _standardised(images), [], 0
    for number, block in VGG_CONVOLUTIONS.items():
        if block > before:
            outputs.append(nhwc(x))
            x, before = _pool(x, window=2), block
        x = _conv(state, x, f"features.{number}") + state[f"features.{number}.bias"][:, None, None]
        x = _relu(_norm(state, x, f"features.{number + 1}"))
    outputs.append(nhwc(x))
    x = _pool(x, window=2)
    rows, columns = (
        [slice(i * n // 7, -(-(i + 1) * n // 7)) for i in range(7)] for n in x.shape[2:]
    )
    x = (
        np.array([[x[:, :, r, c].mean((2, 3)) for c in columns] for r in rows])
        .transpose(2, 3, 0, 1)
        .reshape(len(x), -1)
    )
    x = _relu(_dense(state, _relu(_dense(state, x, "classifier.0")), "classifier.3"))
    return outputs, _dense(state, x, "classifier.6")


def _standardised(images: np.ndarray) -> np.ndarray:
    return (((images.astype(np.float64) + 1) / 2 - MEAN) / STD).transpose(0, 3, 1, 2)


def _conv(state: State, x: np.ndarray, name: str, stride: int = 1) -> np.ndarray:
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


def _norm(state: State, x: np.ndarray, name: str) -> np.ndarray:
    scale, bias, mean, var = (
        state[f"{name}.{leaf}"].astype(np.float64)[:, None, None]
        for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


def _dense(state: State, x: np.ndarray, name: str) -> np.ndarray:
    return x @ state[f"{name}.weight"].T.astype(np.float64) + state[f"{name}.bias"]


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _pool(x: np.ndarray, window: int) -> np.ndarray:
    """Maxima of window x window pixels, two apart: of 3 around every other one, of 2 where both
    are there.
    """
    half = window // 2 if window % 2 else 0
    height, width = ((n + 2 * half - window) // 2 + 1 for n in x.shape[2:])
    x = np.pad(x, ((0, 0), (0, 0), (half, half), (half, half)), constant_values=-np.inf)
    rows = [
        [x[:, :, 2 * i : 2 * i + window, 2 * j : 2 * j + window].max((2, 3)) for j in range(width)]
        for i in range(height)
    ]
    return np.array(rows).transpose(2, 3, 0, 1)
