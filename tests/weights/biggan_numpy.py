"""BigGAN and BigGAN-deep of the authors' code once more, in NumPy and float64.

The network is computed straight from a state dict; there are such dicts, random or damaged. Written
for clarity, [B, C, H, W] as there. The truth for what no golden file covers.
"""

from __future__ import annotations

import numpy as np


def random_state(
    *,
    deep=False,
    channels=(16, 8, 8),
    classes=3,
    embed=4,
    z=2,
    hierarchical=True,
    shared=True,
    attention=(),
    kind="stored",
):
    """Return a random state dict.

    kind: of the statistics: 'stored', 'standing' (sums), 'running' (cross-replica). channels: as
    the generator's argument.
    """
    rng = np.random.default_rng(0)
    state = {}

    def weight(name, *shape, bias=True, spectral=True):
        state[f"{name}.weight"] = rng.normal(size=shape) * 2 / np.sqrt(np.prod(shape[1:]))
        if bias:
            state[f"{name}.bias"] = 0.3 * rng.normal(size=shape[0])
        if spectral:
            state[f"{name}.u0"] = rng.normal(size=(1, shape[0]))
            state[f"{name}.sv0"] = np.ones(1)

    def statistics(name, width):
        mean, variance = 0.3 * rng.normal(size=width), 0.5 + rng.random(width)
        if kind == "standing":
            state.update(
                {f"{name}.bn.stored_mean": 7 * mean, f"{name}.bn.stored_var": 7 * variance}
            )
            state[f"{name}.bn.accumulation_counter"] = np.full(1, 7.0)
        else:
            prefix = {"stored": f"{name}.stored", "running": f"{name}.bn.running"}[kind]
            state.update({f"{prefix}_mean": mean, f"{prefix}_var": variance})

    def norm(name, width):
        for side in ("gain", "bias"):
            if shared:
                weight(
                    f"{name}.{side}", width, embed + (z if hierarchical or deep else 0), bias=False
                )
            else:
                state[f"{name}.{side}.weight"] = 0.5 * rng.normal(size=(classes, width))
        statistics(name, width)

    if shared:
        state["shared.weight"] = rng.normal(size=(classes, embed))
    weight("linear", 16 * channels[0], z + embed if deep else z)
    for i, (before, after) in enumerate(zip(channels[:-1], channels[1:], strict=True)):
        block, middle = f"blocks.{i}.0", before // 4
        if deep:
            convs = [
                (middle, before, 1),
                (middle, middle, 3),
                (middle, middle, 3),
                (after, middle, 1),
            ]
        else:
            convs = [(after, before, 3), (after, after, 3)]
            weight(f"{block}.conv_sc", after, before, 1, 1)
        for j, (outputs, inputs, window) in enumerate(convs):
            weight(f"{block}.conv{j + 1}", outputs, inputs, window, window)
            norm(f"{block}.bn{j + 1}", inputs)
        if i in attention:
            for side, (outputs, inputs) in {
                "theta": (8, 1),
                "phi": (8, 1),
                "g": (2, 1),
                "o": (1, 2),
            }.items():
                weight(f"blocks.{i}.1.{side}", after // outputs, after // inputs, 1, 1, bias=False)
            state[f"blocks.{i}.1.gamma"] = np.array(0.8)
    weight("output_layer.2", 5 if deep else 3, channels[-1], 3, 3)
    state["output_layer.0.gain"], state["output_layer.0.bias"] = 1 + 0.3 * rng.normal(
        size=(2, channels[-1])
    )
    statistics("output_layer.0", channels[-1])
    return {name: array.astype(np.float32) for name, array in state.items()}


def damaged(state, optional=()):
    """Yield (what it is, the state dict) with one damage each.

    A tensor is too many or missing, of another shape or type, NaN, negative, zero. optional:
    endings of names that may be missing or anything.
    """
    rng = np.random.default_rng(0)
    yield "extra.weight", {**state, "extra.weight": np.zeros(3, np.float32)}
    for name in sorted(name for name in state if not name.endswith((".sv0", *optional))):
        array = state[name]
        others = [
            np.full_like(array, np.nan),
            array.astype("U3"),
            np.zeros((*array.shape, 0), np.float32),
        ]
        if array.size > 1:
            others += [array[..., None], array[0], array[:0], np.concatenate([array, array], -1)]
        yield name, {**state, name: others[int(rng.integers(len(others)))]}
        yield name, {other: array for other, array in state.items() if other != name}
        if name.endswith(("_var", "_vars")):
            yield name, {**state, name: -array - 1}
        if (
            name.endswith("weight")
            and f"{name.removesuffix('weight')}u0" in state
            or name.endswith("weight_orig")
        ):
            yield name, {**state, name: 0 * array}


class Network:
    """images(z, distribution) [B, 3, H, W] of a state dict."""

    def __init__(self, state, *, eps, sn_eps=1e-12):
        self.state = {name: array.astype(np.float64) for name, array in state.items()}
        self.eps, self.sn_eps = eps, sn_eps

    def images(self, z, distribution, *, hierarchical=True):
        """BigGAN"""
        shared = "shared.weight" in self.state
        label = distribution @ self.state["shared.weight"] if shared else distribution
        blocks = self._blocks()
        pieces = np.split(z, len(blocks) + 1, axis=1) if hierarchical else [z] * (len(blocks) + 1)
        x = self._linear(pieces[0])
        for block, piece in zip(blocks, pieces[1:], strict=True):
            y = np.concatenate([label, piece], 1) if hierarchical else label
            h = upsampled(relu(self._norm(f"{block}.0.bn1", x, y, shared)))
            h = self._conv(f"{block}.0.conv1", h)
            h = self._conv(f"{block}.0.conv2", relu(self._norm(f"{block}.0.bn2", h, y, shared)))
            x = h + self._conv(f"{block}.0.conv_sc", upsampled(x))
            x = self._attention(f"{block}.1", x)
        return self._output(x)

    def deep_images(self, z, distribution, *, depth=2):
        """BigGAN-deep"""
        y = np.concatenate([distribution @ self.state["shared.weight"], z], 1)
        x = self._linear(y)
        for i, block in enumerate(self._blocks()):
            name = f"{block}.0"
            h = self._conv(f"{name}.conv1", relu(self._norm(f"{name}.bn1", x, y, True)))
            h = relu(self._norm(f"{name}.bn2", h, y, True))
            x = x[:, : len(self.state[f"{name}.conv4.weight"])]
            if i % depth == depth - 1:
                h, x = upsampled(h), upsampled(x)
            h = self._conv(f"{name}.conv2", h)
            h = self._conv(f"{name}.conv3", relu(self._norm(f"{name}.bn3", h, y, True)))
            x = x + self._conv(f"{name}.conv4", relu(self._norm(f"{name}.bn4", h, y, True)))
            x = self._attention(f"{block}.1", x)
        return self._output(x)[:, :3]

    def _blocks(self):
        return sorted(
            {".".join(name.split(".")[:2]) for name in self.state if name.startswith("blocks.")}
        )

    def _weight(self, name):
        weight = self.state[f"{name}.weight"]
        if f"{name}.u0" not in self.state:
            return weight
        matrix = weight.reshape(len(weight), -1)
        v = self.state[f"{name}.u0"] @ matrix
        v /= max(np.sqrt((v**2).sum()), self.sn_eps)
        u = v @ matrix.T
        u /= max(np.sqrt((u**2).sum()), self.sn_eps)
        return weight / (v @ matrix.T @ u.T).item()

    def _linear(self, x):
        y = x @ self._weight("linear").T + self.state["linear.bias"]
        return y.reshape(len(x), -1, 4, 4)

    def _conv(self, name, x):
        weight = self._weight(name)
        window = weight.shape[2]
        height, width = x.shape[2:]
        padded = np.pad(x, ((0, 0), (0, 0), (window // 2,) * 2, (window // 2,) * 2))
        y = np.zeros((len(x), len(weight), height, width))
        for i in range(window):
            for j in range(window):
                y += np.einsum(
                    "oc,bchw->bohw", weight[:, :, i, j], padded[:, :, i : i + height, j : j + width]
                )
        return y + self.state[f"{name}.bias"][:, None, None] if f"{name}.bias" in self.state else y

    def _standardized(self, name, x, eps):
        if f"{name}.bn.accumulation_counter" in self.state:
            times = self.state[f"{name}.bn.accumulation_counter"]
            mean, variance = (
                self.state[f"{name}.bn.stored_mean"] / times,
                self.state[f"{name}.bn.stored_var"] / times,
            )
        else:
            kind = "bn.running" if f"{name}.bn.running_mean" in self.state else "stored"
            mean, variance = self.state[f"{name}.{kind}_mean"], self.state[f"{name}.{kind}_var"]
        return (x - mean[:, None, None]) / np.sqrt(variance[:, None, None] + eps)

    def _norm(self, name, x, y, shared):
        gain, bias = (
            y
            @ (self._weight(f"{name}.{side}").T if shared else self.state[f"{name}.{side}.weight"])
            for side in ("gain", "bias")
        )
        return (
            self._standardized(name, x, self.eps) * (1 + gain[:, :, None, None])
            + bias[:, :, None, None]
        )

    def _attention(self, name, x):
        if f"{name}.gamma" not in self.state:
            return x
        count, channels, height, width = x.shape
        theta = self._conv(f"{name}.theta", x).reshape(count, -1, height * width)
        phi = pooled(self._conv(f"{name}.phi", x)).reshape(count, -1, height * width // 4)
        g = pooled(self._conv(f"{name}.g", x)).reshape(count, -1, height * width // 4)
        dots = np.exp(np.einsum("bci,bcj->bij", theta, phi))
        beta = dots / dots.sum(-1, keepdims=True)
        o = np.einsum("bcj,bij->bci", g, beta).reshape(count, -1, height, width)
        return self.state[f"{name}.gamma"] * self._conv(f"{name}.o", o) + x

    def _output(self, x):
        gain, bias = (
            self.state[f"output_layer.0.{side}"][:, None, None] for side in ("gain", "bias")
        )
        return np.tanh(
            self._conv(
                "output_layer.2", relu(self._standardized("output_layer.0", x, 1e-5) * gain + bias)
            )
        )


def relu(x):
    return np.maximum(x, 0)


def upsampled(x):
    return np.kron(x, np.ones((1, 1, 2, 2)))


def pooled(x):
    return np.maximum.reduce([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)])
