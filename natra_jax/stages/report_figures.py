"""The sections of the report whose images are decoded.

They are decoded from the generator's codes or, for methods that perturb them, from features.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from natra_jax import report
from natra_jax.attacks import feature_stats, pgd
from natra_jax.classifiers import auxiliary_batch_norm
from natra_jax.data import to_float
from natra_jax.evaluation import escaped
from natra_jax.evaluation.benchmark import attack, even_batches, predict
from natra_jax.evaluation.feature_decoder import decode, recoloured_share
from natra_jax.latents.editing import edit
from natra_jax.methods.advbn import worst_features
from natra_jax.report import Picture, Section
from natra_jax.stages import data, encode, evaluate, judge, screen, shift, train
from natra_jax.stages.context import Context
from natra_jax.stages.feature_decoder import Decoded

_SPLIT = "test_iid"
_MULTIPLES = (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)  # of sigma, for each direction
_CANDIDATES = 100  # test images, of which one shows the directions
_PARTS = (0.25, 0.5, 1.0)  # of advbn.epsilon
_FOUND = {  # by directions.codes
    "encoded": "Found without labels",
    "prior": "Found without labels, in prior samples",
    "within_classes": "Found in what varies among the training images of one class",
    "within_objects": "Found in what varies among images of one object",
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


def perturbed_features(context: Context, method: str, decoded: Decoded) -> Section:
    """Show test images decoded from their features, clean and as AdvBN's search leaves them.

    The search is that of the method's training, and so is the size of the group that shares a
    perturbation; it is also made at smaller radii.
    """
    c, seed, error = context.config.advbn, context.config.seeds[0], decoded.error
    split = data.varied(context, _SPLIT)
    count, labels = min(c.group_size, len(split.label)), np.asarray(split.label)
    group = np.linspace(0, len(labels) - 1, count).astype(int)  # folders come class by class
    images = to_float(split.image[group])
    features = decoded.cut.trunk(decoded.variables, jnp.asarray(images))
    search, space = pgd(c.num_steps, c.step_size), feature_stats(count, relu=decoded.cut.relu)
    targets = jax.nn.one_hot(labels[group], data.info(context).num_classes)
    keys = jax.random.split(jax.random.key(seed), count)
    adversarial = auxiliary_batch_norm.adversarial(decoded.variables)

    @jax.jit
    def worst(radius: float) -> tuple[jax.Array, jax.Array]:
        head_fn = Partial(decoded.cut.head, adversarial)
        found, failed = worst_features(search, space, head_fn, keys, features, targets, radius)
        return decode(decoded.decoder, decoded.params, found), failed.mean()

    clean = np.asarray(decode(decoded.decoder, decoded.params, features))
    shown = np.linspace(0, count - 1, min(count, context.config.report.examples)).astype(int)
    rows = {"image": images[shown], "decoded": clean[shown]}
    for part in _PARTS:
        perturbed, wrong = worst(part * c.epsilon)
        rows[f"± {part * c.epsilon:.3g}: {float(wrong):.0%} wrong"] = np.asarray(perturbed)[shown]
    share = recoloured_share(clean, np.asarray(perturbed))
    text = (
        f"{method} perturbs features at the classifier's AdvBN layer. A decoder, trained to "
        "reconstruct the train images from these features, shows what becomes of images: its mean "
        f"squared error on val_iid is {error.value:.4f} ({error.n} images). Groups of {count} test "
        "images share a factor for the mean and one for the spread of each channel, found as in "
        "training for the classifier at its end; wrong is the share of the group that it then "
        "misclassifies."
    )
    picture = Picture(
        report.image_grid(list(rows.values()), list(rows)),
        "Test images, decoded from their features, and from features whose means and spreads are "
        f"multiplied by up to 1 ± the number: {share:.0%} of the last row's squared change is a "
        "change of each image's colours, one affine map for all its pixels; the rest is texture "
        "and shape.",
        "Rows of images: as they are, decoded, and decoded from perturbed features.",
    )
    return Section(f"What {method} perturbs", [text], figures=[picture])


def _decode(context: Context, codes: np.ndarray) -> np.ndarray:
    """Decode codes [N, L, D] (or expanded) as images [N, H, W, C]."""
    generator_, params = shift.load(context)
    synthesize, size = jax.jit(generator_.synthesize), context.config.eval.batch_size
    parts = [
        np.asarray(synthesize(params, codes[index])) for index in even_batches(len(codes), size)
    ]
    return np.concatenate(parts)[: len(codes)]
