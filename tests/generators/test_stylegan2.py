"""StyleGAN2 against a second one written out in NumPy, and what its options promise. The
checkpoints' own images: tests/weights.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from natra_jax.generators.stylegan2 import modulated_conv2d, stylegan2
from natra_jax.latents.expansion import expand, expansion
from tests.generators import laws

GOLDEN = Path(__file__).parents[1] / "golden" / "stylegan2_nv_ops.npz"
SMALL = {"z_dim": 7, "code_dim": 12, "mapping_layers": 2}
TAPS = (1, 2, 4, 3)
CLAMP = 0.7


def upsampled(x, taps):
    """Zeros between the pixels, then the filter, every output pixel a sum over taps."""
    n, (count, height, width, channels) = len(taps), x.shape
    kernel = 4 * np.outer(taps, taps) / np.sum(taps) ** 2
    z = np.zeros((count, 2 * height + n, 2 * width + n, channels))
    z[
        :, (n + 1) // 2 : (n + 1) // 2 + 2 * height : 2, (n + 1) // 2 : (n + 1) // 2 + 2 * width : 2
    ] = x
    return sum(
        kernel[n - 1 - a, n - 1 - b] * z[:, a : a + 2 * height, b : b + 2 * width]
        for a, b in np.ndindex(n, n)
    )


def own_convolution(x, kernels, taps):
    """Each example with its own kernel [3, 3, C, K]; up-sampling by a transposed convolution and
    the filter where taps are given.
    """
    count, height, width, _ = x.shape
    if taps is None:
        z = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return sum(
            np.einsum("bhwc,bck->bhwk", z[:, a : a + height, b : b + width], kernels[:, a, b])
            for a, b in np.ndindex(3, 3)
        )
    y = np.zeros((count, 2 * height + 1, 2 * width + 1, kernels.shape[-1]))
    for a, b in np.ndindex(3, 3):
        y[:, a : a + 2 * height : 2, b : b + 2 * width : 2] += np.einsum(
            "bhwc,bck->bhwk", x, kernels[:, a, b]
        )
    n = len(taps)
    filtered = 4 * np.outer(taps, taps) / np.sum(taps) ** 2
    z = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
    assert n == 4
    return sum(
        filtered[3 - a, 3 - b] * z[:, a : a + 2 * height, b : b + 2 * width]
        for a, b in np.ndindex(4, 4)
    )


def written_out(params, codes, architecture, noises, taps=TAPS, clamp=CLAMP):
    """(images, how much of all values is cut off by the clamp)."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)["synthesis"]
    codes, cut = np.asarray(codes, np.float64), []

    def affine(p, code):
        return code @ (p["kernel"] / np.sqrt(len(p["kernel"]))) + p["bias"]

    def clamped(x, gain=1.0):
        cut.append((np.abs(x) > clamp * gain).mean())
        return np.clip(x, -clamp * gain, clamp * gain)

    def convolution(x, layer, gain=1.0):
        p = params["convs"][layer]
        kernels = p["kernel"] * affine(p["affine"], codes[:, layer])[:, None, None, :, None]
        kernels /= np.sqrt(np.square(kernels).sum((1, 2, 3), keepdims=True) + 1e-8)
        y = own_convolution(x, kernels, taps if layer % 2 else None)
        y = y + p["noise_strength"] * np.asarray(noises[layer], np.float64) + p["bias"]
        return clamped(np.where(y > 0, y, 0.2 * y) * np.sqrt(2) * gain, gain)

    def to_rgb(x, p, layer):
        styles = affine(p["affine"], codes[:, layer]) / np.sqrt(x.shape[-1])
        return clamped((x * styles[:, None, None]) @ p["kernel"] + p["bias"])

    levels = len(params["convs"]) // 2
    x = convolution(np.broadcast_to(params["constant"], (len(codes), *params["constant"].shape)), 0)
    image = to_rgb(x, params["rgbs"][0], 1) if architecture == "skip" else None
    for level in range(1, levels + 1):
        gain = np.sqrt(0.5) if architecture == "resnet" else 1.0
        y = convolution(convolution(x, 2 * level - 1), 2 * level, gain)
        if architecture == "resnet":
            kernel = params["shortcuts"][level - 1]["kernel"]
            y = y + gain * upsampled(x @ kernel / np.sqrt(len(kernel)), taps)
        x = y
        if architecture == "skip":
            image = upsampled(image, taps) + to_rgb(x, params["rgbs"][level], 2 * level + 1)
    return image if architecture == "skip" else to_rgb(
        x, params["rgbs"][0], 2 * levels + 1
    ), np.mean(cut)


@pytest.mark.parametrize(
    ("architecture", "channels"), [("skip", (5, 6, 4)), ("resnet", (4, 5)), ("orig", (4, 5))]
)
def test_images_equal_those_of_a_network_written_out_in_numpy(architecture, channels):
    generator = stylegan2(
        resolution=4 * 2 ** (len(channels) - 1),
        channels=channels,
        architecture=architecture,
        img_channels=1 if architecture == "orig" else 3,
        conv_clamp=CLAMP,
        resample_filter=TAPS,
        **SMALL,
    )
    params = laws.random_params(generator)
    codes = laws.random_codes(generator, params)
    rng = np.random.default_rng(3)
    sides = [noise.shape[0] for noise in params["buffers"]["noise"]]
    assert sides == [4, 8, 8, 16, 16][: len(sides)]
    drawn = [rng.normal(size=(2, side, side, 1)).astype(np.float32) for side in sides]
    with jax.default_matmul_precision("highest"):
        images = jax.jit(generator.synthesize)(params, codes)
    expected, cut = written_out(
        params, codes, architecture, [noise[..., None] for noise in params["buffers"]["noise"]]
    )
    assert 0.05 < cut < 0.95
    np.testing.assert_allclose(images, expected, rtol=1e-4, atol=2e-5)
    if architecture == "resnet":  # noise that is given, the same for all examples or of each
        drawn[1] = drawn[1][:1]
        with jax.default_matmul_precision("highest"):
            given = jax.jit(lambda p, c, n: generator.synthesize(p, c, noise=n))(
                params, codes, drawn
            )
        np.testing.assert_allclose(
            given, written_out(params, codes, architecture, drawn)[0], rtol=1e-4, atol=2e-5
        )
        assert np.abs(images - given).max() > 0.01


@pytest.mark.parametrize("joint_norm", [False, True])
def test_the_mapping_network_equals_one_written_out_in_numpy(joint_norm):
    generator = stylegan2(
        resolution=8,
        channels=(2, 2),
        label_dim=3,
        embed_features=5,
        joint_norm=joint_norm,
        mapping_features=9,
        **SMALL,
    )
    params = laws.random_params(generator)
    z, label = np.random.default_rng(0).normal(size=(4, 7)), np.array([0, 2, 1, 2])
    mapping = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["mapping"])
    norm = lambda x: x / np.sqrt(np.square(x).mean(1, keepdims=True) + 1e-8)  # noqa: E731
    embedded = mapping["embed"]["kernel"][label]
    if joint_norm:
        x = norm(np.concatenate([z, embedded], 1))
    else:
        x = np.concatenate([norm(z), norm(embedded / np.sqrt(3) + mapping["embed"]["bias"])], 1)
    for layer in mapping["layers"]:
        x = x @ (layer["kernel"] * 0.01 / np.sqrt(len(layer["kernel"]))) + 0.01 * layer["bias"]
        x = np.sqrt(2) * np.maximum(x, 0.2 * x)
    w = np.asarray(generator.map(params, z.astype(np.float32), label))
    np.testing.assert_allclose(w, np.repeat(x[:, None], 4, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"channels": (4, 3)},
        pytest.param(
            {
                "channels": (4, 3),
                "architecture": "resnet",
                "label_dim": 2,
                "conv_clamp": 2.0,
                "embed_features": 3,
            },
            marks=pytest.mark.slow,
        ),
    ],
)
def test_it_keeps_the_laws_of_generators(options):
    laws.check(stylegan2(resolution=8, **SMALL, **options))


def test_codes_expanded_between_the_convolutions_of_a_residual_block_weigh_both_of_its_paths():
    generator = stylegan2(resolution=8, channels=(4, 3), architecture="resnet", **SMALL)
    params = laws.random_params(generator)
    codes = laws.random_codes(generator, params)
    layout = expansion(generator, num_codes=2, at=2)
    assert layout.channels == 3 + 3
    logits = np.random.default_rng(0).normal(size=(2, 2, 6)).astype(np.float32)
    expanded = expand(generator, layout)
    weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    @jax.jit
    def both(params, codes):
        packed = layout.pack(jnp.stack([codes, codes[::-1]], 1), logits)
        return expanded.head(params, packed, 2).x, generator.head(params, codes, 2).x

    composed, alone = both(params, codes)
    for found, one, weight in zip(composed, alone, np.split(weights, 2, axis=2), strict=True):
        expected = (
            weight[:, 0, None, None] * np.asarray(one)
            + weight[:, 1, None, None] * np.asarray(one)[::-1]
        )
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_modulated_convolutions_equal_nvidias():
    golden = np.load(GOLDEN)
    x, kernel = golden["in/x"].transpose(0, 2, 3, 1), golden["in/w3"].transpose(2, 3, 1, 0)
    plain = modulated_conv2d(x, kernel, golden["in/styles"])
    up = modulated_conv2d(x, kernel, golden["in/styles"], TAPS)
    np.testing.assert_allclose(
        plain, golden["modulated_conv2d/0"].transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        up, golden["modulated_conv2d/1"].transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5
    )


@pytest.fixture(scope="module")
def small():
    generator = stylegan2(resolution=8, channels=(4, 3), **SMALL)
    params = laws.random_params(generator)
    return generator, params, laws.random_codes(generator, params)


def test_random_noise_differs_between_keys_examples_and_convolutions_and_none_leaves_it_out(small):
    generator, params, codes = small
    same = np.repeat(codes[:1], 2, axis=0)

    @jax.jit
    def images(params, key):
        random = generator.synthesize(params, same, noise="random", key=key)
        mixed = [
            generator.synthesize(
                params, same, noise=[*["none"] * l, "random", *["none"] * (2 - l)], key=key
            )
            for l in range(3)
        ]
        silent = params | {
            "synthesis": params["synthesis"]
            | {"convs": [c | {"noise_strength": 0.0} for c in params["synthesis"]["convs"]]}
        }
        return (
            random,
            mixed,
            generator.synthesize(params, same, noise="none"),
            generator.synthesize(silent, same),
        )

    random, mixed, none, silent = images(params, jax.random.key(0))
    np.testing.assert_allclose(none, silent, rtol=1e-5, atol=1e-5)
    assert np.abs(random[0] - random[1]).max() > 1e-3
    assert np.abs(random - images(params, jax.random.key(1))[0]).max() > 1e-3
    for one in mixed:  # each alone changes the image, in its own way
        assert np.abs(one - none).max() > 1e-4
        assert np.abs(one[0] - one[1]).max() > 1e-4
    assert np.abs(mixed[1] - mixed[2]).max() > 1e-4


def test_noise_that_cannot_be_is_refused(small):
    generator, params, codes = small
    right = [np.zeros((1, side, side, 1), np.float32) for side in (4, 8, 8)]
    silent = stylegan2(resolution=8, channels=(4, 3), use_noise=False, **SMALL)
    for of, noise, message in [
        (generator, "loud", "const, none, random"),
        (generator, "random", "needs a key"),
        (generator, right[:2], "3 such"),
        (generator, [right[0], right[0], right[2]], "convolution 1"),
        (generator, ["const", "const", "loud"], "const, none, random"),
        (silent, right, "no noise"),
    ]:
        with pytest.raises(ValueError, match=message):
            of.synthesize(params, codes, noise=noise)
    with pytest.raises(ValueError, match="label"):
        generator.synthesize(params, codes, label=np.zeros(2, int))


def test_style_holds_all_directions_in_which_a_code_acts(small):
    generator, params, codes = small

    @jax.jit
    def moved(params, codes, l, by):
        return generator.synthesize(params, codes.at[:, l].add(by)) - generator.synthesize(
            params, codes
        )

    for l in range(generator.num_layers):
        matrix = np.asarray(generator.style(params, l))
        assert matrix.shape[0] == [4, 4 + 4, 3, 3][l]
        axes = np.linalg.svd(matrix)[2]
        inside, outside = axes[0].astype(np.float32), axes[-1].astype(np.float32)
        assert np.abs(moved(params, jnp.asarray(codes), l, outside)).max() < 1e-5
        assert np.abs(moved(params, jnp.asarray(codes), l, inside)).max() > 1e-3


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.02), ("bfloat16", 0.15)])
def test_low_precision_is_close_and_keeps_large_weights_in_range(dtype, tolerance):
    options = {"resolution": 16, "channels": (4, 4, 3), **SMALL}
    whole, low = (
        stylegan2(**options),
        stylegan2(dtype=dtype, low_precision_resolutions=1, **options),
    )
    params = laws.random_params(whole)
    codes = laws.random_codes(whole, params)
    # a scale of a kernel and of the styles changes nothing, save where squares overflow
    large = jax.tree.map(np.copy, params)
    for conv in large["synthesis"]["convs"]:
        conv["kernel"] *= 3e3
        conv["affine"] = jax.tree.map(lambda leaf: leaf * 3e3, conv["affine"])
    images = jax.jit(lambda params: low.synthesize(params, codes))
    expected = jax.jit(whole.synthesize)(params, codes)
    assert images(params).dtype == jnp.float32
    for given in (params, large):
        np.testing.assert_allclose(images(given), expected, atol=tolerance * np.abs(expected).max())
    assert np.abs(images(params) - expected).max() > 1e-5
    features = jax.eval_shape(lambda: [low.head(params, codes, l) for l in (1, 3, 4, 6)])
    assert [f.x.dtype.name for f in features] == ["float32", "float32", dtype, dtype]
    assert all(f.rgb is None or f.rgb.dtype == jnp.float32 for f in features)


def test_the_full_network_has_the_published_size():
    params = jax.eval_shape(stylegan2(resolution=1024).init, jax.random.key(0))
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in params.items()
    }
    # what NVIDIA's TensorFlow program prints as the number of trainable parameters; the mean code
    # is none of them
    assert sizes["mapping"] - 512 + sizes["synthesis"] == 30_370_060
    assert stylegan2(resolution=1024).num_layers == 18


@pytest.mark.parametrize(
    "wrong",
    [
        {"resolution": 24},
        {"resolution": 4},
        {"channels": (4,)},
        {"channels": (4, 0)},
        {"architecture": "dense"},
        {"dtype": "float64"},
        {"conv_clamp": 0.0},
        {"resample_filter": ()},
        {"resample_filter": (1, -1)},
        {"mapping_layers": 0},
        {"lr_mul": 0.0},
    ],
)
def test_arguments_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="stylegan2"):
        stylegan2(**({"resolution": 8, "channels": (4, 3)} | wrong))


def test_the_same_arguments_give_the_same_generator():
    assert stylegan2(resolution=8, channels=(4, 3)) is stylegan2(resolution=8, channels=(4, 3))
