"""The sections of the report that need the generator: images are encoded, moved and decoded."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from natra_jax import report
from natra_jax.data import to_float
from natra_jax.evaluation import escaped
from natra_jax.evaluation.benchmark import attack, even_batches, predict
from natra_jax.latents.editing import edit
from natra_jax.report import Picture, Section
from natra_jax.stages import data, encode, evaluate, judge, screen, shift, train
from natra_jax.stages.context import Context

_SPLIT = "test_iid"
_MULTIPLES = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)  # of sigma, for each direction
_CANDIDATES = 100  # test images, of which one shows the directions
_FOUND = {  # by directions.codes
    "encoded": "Found without labels",
    "prior": "Found without labels, in prior samples",
    "within_classes": "Found in what varies among the training images of one class",
}


def reconstructions(context: Context) -> Section:
    """Show test images above what encoder and generator make of them."""
    count = context.config.report.examples
    images = data.varied(context, _SPLIT).image[: 2 * count]
    real, decoded = to_float(images), _decode(context, encode.encode_images(context, images))
    error = float(np.square(real - decoded).mean())
    pairs = Picture(
        report.reconstruction_grid(real, decoded, columns=count),
        "Test images above what encoder and generator make of them (mean squared error of these "
        f"{error:.4f}).",
        "Pairs of a test image and its reconstruction.",
    )
    text = (
        "Everything natra varies is first encoded into the generator's codes; what the "
        "reconstruction loses, no variation can show."
    )
    return Section("Reconstructions", [text], figures=[pairs])


def directions(context: Context) -> Section:
    """Show a test image moved along each of the chosen directions."""
    chosen = screen.load(context)
    candidates = data.varied(context, _SPLIT).image[:_CANDIDATES]
    clearest = int(candidates.std((1, 2, 3)).argmax())
    codes = encode.encode_images(context, candidates[clearest : clearest + 1])
    # a row of images for each direction: its multiples, and none of the others'
    count = len(chosen.names)
    r = np.eye(count)[:, None] * np.asarray(_MULTIPLES)[:, None]
    moved = edit(jnp.asarray(codes), chosen, jnp.asarray(r.reshape(-1, count)))
    images = _decode(context, np.asarray(moved))
    images = images.reshape(count, len(_MULTIPLES), *data.info(context).image_shape)
    strip = report.direction_strip(images, chosen.names, _MULTIPLES, chosen.useful.tolist())
    layers = ", ".join(map(str, np.flatnonzero(chosen.mask.any(0))))
    text = (
        f"{_FOUND[context.config.directions.codes]}, moving the codes of layers {layers} alone. A "
        "test image, the one of most contrast among the first, is moved along each direction by "
        "multiples of sigma, the spread of the population along it. Training stays within "
        f"{context.config.natra.truncation:g} sigma of the population's mean, so the outermost "
        "images lie beyond what it uses where the example itself lies off the mean."
    )
    picture = Picture(strip, "A row for each direction.", "Image strips, one for each direction.")
    return Section("What each direction does", [text], figures=[picture])


def escaped_samples(context: Context, method: str) -> Section:
    """Show variations that the baseline gets wrong and the method right (NaTra section 4.2)."""
    baseline, seed = evaluate.baseline(context.config), context.config.seeds[0]
    c = context.config.eval
    split = data.varied(context, _SPLIT)
    labels = np.asarray(split.label)
    codes = encode.encode_images(context, split.image)
    decoded = _decode(context, codes)
    broken = evaluate.logits(context, train.load(context, baseline, seed))
    variations = attack(
        evaluate.search(context),
        screen.space(context),
        broken,
        codes,
        labels,
        c.latent_epsilon,
        seed=seed,
        batch_size=c.batch_size,
    ).images
    classifiers = {
        baseline: broken,
        method: evaluate.logits(context, train.load(context, method, seed)),
        judge.name(context.config): evaluate.logits(context, judge.load(context)),
    }
    predictions = {
        name: predict(logits_fn, variations, c.batch_size)
        for name, logits_fn in classifiers.items()
    }
    seen = (predict(broken, split.image, c.batch_size), predict(broken, decoded, c.batch_size))
    all_escaped = escaped.find(labels, *seen, predictions[baseline])
    repaired = escaped.find(labels, *seen, predictions[baseline], predictions[method])
    text = (
        f"Of {len(labels)} test images, {baseline} gets {all_escaped.candidates} right both as "
        f"they are and as reconstructed. For {len(all_escaped.index)} of these the search finds a "
        f"variation that it gets wrong; {method} gets {len(repaired.index)} of those variations "
        "right. The judge's answer shows whether the variation kept the label."
    )
    shown = repaired.index[: context.config.report.examples]
    if not len(shown):
        return Section("Escaped samples", [text])
    picture = Picture(
        report.escaped(
            to_float(split.image[shown]),
            decoded[shown],
            variations[shown],
            labels[shown].tolist(),
            {name: classes[shown].tolist() for name, classes in predictions.items()},
        ),
        f"Wrong with {baseline}, right with {method}.",
        "Images, reconstructions, variations and what models say.",
    )
    return Section("Escaped samples", [text], figures=[picture])


def _decode(context: Context, codes: np.ndarray) -> np.ndarray:
    """Decode codes [N, L, D] (or expanded) as images [N, H, W, C]."""
    generator_, params = shift.load(context)
    synthesize, size = jax.jit(generator_.synthesize), context.config.eval.batch_size
    parts = [
        np.asarray(synthesize(params, codes[index])) for index in even_batches(len(codes), size)
    ]
    return np.concatenate(parts)[: len(codes)]
