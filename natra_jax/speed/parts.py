"""The parts that are measured: each is a group of candidates, functions without arguments."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from natra_jax import attacks, classifiers, generators, latents
from natra_jax.convolution import conv2d
from natra_jax.generators import resampling
from natra_jax.methods import advbn, mixing, natra, original, random
from natra_jax.speed import loading, torch_stylegan2
from natra_jax.training.fit import adamw
from natra_jax.training.parallel import compile_step, cpu_options
from natra_jax.training.state import init_state
from natra_jax.training.step import make_step
from natra_jax.types import Directions, Method, Params

_BATCH, _CLASSES, _ATTACK_STEPS = 64, 10, 5


def convolutions() -> dict[str, Callable[[], object]]:
    """Return candidates of PGD, five steps in one scan, through four 3x3 convolutions.

    JAX's own gradients of lax.conv, against conv2d's.
    """
    keys = jax.random.split(jax.random.key(0), 5)
    kernels = [jax.random.normal(key, (3, 3, 32, 32)) * 0.06 for key in keys[1:]]
    images = jax.random.normal(keys[0], (_BATCH, 16, 16, 32))
    plain_conv = partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )

    def search(
        convolve: Callable[..., jax.Array], kernels: list[jax.Array], images: jax.Array
    ) -> jax.Array:
        def loss_fn(inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
            x = inputs
            for kernel in kernels:
                x = jax.nn.relu(convolve(x, kernel))
            loss = x.mean((1, 2, 3))
            return loss, loss > 0

        example_keys = jax.random.split(jax.random.key(1), _BATCH)
        return attacks.pgd(_ATTACK_STEPS)(
            loss_fn, example_keys, attacks.linf(), images, jnp.full(_BATCH, 0.1)
        ).inputs

    options = {
        "lax.conv": (plain_conv, None),
        "conv2d": (conv2d, None),
        "conv2d, compiled as in training": (conv2d, cpu_options()),
    }
    compiled = {
        name: jax.jit(partial(search, convolve), compiler_options=o)
        for name, (convolve, o) in options.items()
    }
    return {name: partial(call, kernels, images) for name, call in compiled.items()}


def training_steps() -> dict[str, Callable[[], object]]:
    """Return one update of the digits' classifier by each method, on 64 clean examples."""
    generator = generators.style_small()
    params = generators.load_weights("digits", generator)
    rng = np.random.default_rng(0)
    vectors = np.zeros((8, generator.num_layers, generator.code_dim), np.float32)
    vectors[:, 4:] = rng.normal(size=(8, 2, generator.code_dim))
    vectors /= np.linalg.norm(vectors.reshape(8, -1), axis=1)[:, None, None]
    mean = np.zeros(vectors.shape[1:], np.float32)
    directions = Directions(
        vectors,
        np.ones(8, np.float32),
        mean,
        vectors.any(2),
        tuple("abcdefgh"),
        np.full(8, np.inf),
        "",
    )
    space = attacks.directions(generator, params, directions)
    search, passes = attacks.pgd(_ATTACK_STEPS, random_start=True), 3 * _ATTACK_STEPS + 1
    mix = attacks.mixing(generator, params, vectors.any((0, 2)))
    restarts = attacks.best_of(attacks.pgd(_ATTACK_STEPS), 5)
    methods = {
        "original": original.original(),
        "random": random.random(space, num_classes=_CLASSES, epsilon=4.0),
        "natra": natra.natra(
            space,
            natra.Inner(search, passes),
            natra.Tuning(rho=1.0, epsilon_max=4.0, smoothing=0.075),
            num_classes=_CLASSES,
        ),
        "advmix, 5 restarts": mixing.advmix(
            mix, restarts, num_classes=_CLASSES, epsilon=0.03, partners=None, passes=5 * passes
        ),
        "advbn": advbn.advbn(group_size=_BATCH, num_steps=6, step_size=0.2, epsilon=1.1),
    }
    build = partial(classifiers.build, "cnn", _CLASSES)
    optimizer = adamw(3e-3, 1e-4, 1000)
    images = rng.uniform(-1, 1, (_BATCH, 16, 16, 3)).astype(np.float32)
    codes = rng.normal(size=(_BATCH, *mean.shape)).astype(np.float32)
    batch = {
        "image": images,
        "label": rng.integers(0, _CLASSES, _BATCH),
        "index": np.arange(_BATCH),
        "codes": codes,
    }
    step = compile_step(lambda axis: make_step(build, optimizer, axis), jax.devices()[:1])
    fresh = jax.jit(partial(init_state, build(None), optimizer, (16, 16, 3), _BATCH))

    def update(method: Method) -> dict[str, jax.Array]:
        return step(method, fresh(jax.random.key(0)), batch)[1]

    return {name: partial(update, method) for name, method in methods.items()}


def encoding() -> dict[str, Callable[[], object]]:
    """Return candidates that send 10,000 images through the digits' encoder.

    Its forward pass alone, on images that lie ready, against encoding an array of them.
    """
    generator = generators.style_small()
    encoder = latents.inverse_encoder(generator, codes="w+", widths=(32, 64, 128), hidden=128)
    params = encoder.init(
        jax.random.key(0), (16, 16, 3), jnp.zeros((generator.num_layers, generator.code_dim))
    )
    images = np.random.default_rng(0).uniform(-1, 1, (10_000, 16, 16, 3)).astype(np.float32)
    ready = [jnp.asarray(images[i : i + 500]) for i in range(0, len(images), 500)]
    forward = jax.jit(encoder.encode)
    return {
        "forward": lambda: [forward(params, batch) for batch in ready],
        "latents.encode": lambda: latents.encode(encoder, params, images),
    }


def upsampling() -> dict[str, Callable[[], object]]:
    """Return both forms of StyleGAN2's up-convolution, and the gradient of each.

    64 to 128 px, 256 to 128 channels, four examples.
    """
    keys = jax.random.split(jax.random.key(0))
    x, kernel = (
        jax.random.normal(keys[0], (4, 64, 64, 256)),
        jax.random.normal(keys[1], (3, 3, 256, 128)),
    )
    forms = {
        "dilated, then filtered": resampling.up_by_dilation,
        "four phases": resampling.up_by_phases,
    }

    def gradient(form: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.grad(lambda x: jnp.square(form(x, kernel, (1, 3, 3, 1))).sum())(x)

    calls = {
        name: jax.jit(lambda x, kernel, form=form: form(x, kernel, (1, 3, 3, 1)))
        for name, form in forms.items()
    }
    calls |= {
        f"{name}, and its gradient": jax.jit(partial(gradient, form))
        for name, form in forms.items()
    }
    return {name: partial(call, x, kernel) for name, call in calls.items()}


def stylegan2(*, gradient: bool = False) -> dict[str, Callable[[], object]]:
    """Return candidates that synthesise four images by a StyleGAN2 of 256 px at full width.

    PyTorch is one of them where it is installed. gradient: compute also that of the sum of squared
    pixels with respect to the codes.
    """
    generator = generators.stylegan2(resolution=256)
    params = jax.jit(generator.init)(jax.random.key(0))
    codes = generator.draw(params, jax.random.key(1), 4)

    def run(params: Params, codes: jax.Array) -> jax.Array:
        return generator.synthesize(params, codes)

    def run_back(params: Params, codes: jax.Array) -> jax.Array:
        return jax.grad(lambda codes: jnp.square(generator.synthesize(params, codes)).sum())(codes)

    options = {"natra_jax": None, "natra_jax, compiled as in training": cpu_options()}
    candidates = {
        name: partial(jax.jit(run_back if gradient else run, compiler_options=o), params, codes)
        for name, o in options.items()
    }
    if importlib.util.find_spec("torch"):
        candidates |= torch_stylegan2.candidates(
            jax.device_get(params), np.asarray(codes), gradient=gradient
        )
    return candidates


PARTS = {
    "attack": ("attack of 5 steps in one scan", convolutions),
    "training": ("one training step", training_steps),
    "encoding": ("10,000 images encoded", encoding),
    "upsampling": ("an up-convolution", upsampling),
    "loading": ("512 JPEGs of 256 px decoded", loading.decoding),
    "waiting": ("100 steps of training, and the time of them without data", loading.waiting),
    "stylegan2": ("StyleGAN2 at 256 px, four images", stylegan2),
    "stylegan2_gradient": (
        "the same, and the gradient with respect to the codes",
        partial(stylegan2, gradient=True),
    ),
}
