"""Every field of an experiment: default, help, valid values and unit, in the order of --help.

Checks that take several fields at once are in `natra_jax.config.validation`.
"""

from __future__ import annotations

from natra_jax.classifiers import CLASSIFIERS
from natra_jax.classifiers.norm import GroupNorm
from natra_jax.config import values
from natra_jax.config.checks import above, at_least, between, counts, each_of, one_of
from natra_jax.config.field import Field, Section
from natra_jax.config.method_fields import METHODS
from natra_jax.data import FITS
from natra_jax.gan.augmentation import KINDS as AUGMENTATIONS
from natra_jax.latents import directions
from natra_jax.training.parallel import MODES
from natra_jax.weights import FAMILIES
from natra_jax.weights.families import AUTO
from natra_jax.weights.generator_config import NONE, OWN

# Laid out by hand: a line or two for each field.
# fmt: off

_EXPERIMENT: Section = {
    "name": Field("", "name of the experiment; a work directory belongs to one"),
    "seeds": Field((0,), "every method is trained once from each of them", values.SEEDS),
    "methods": Field(("original", "random", "natra"),
        "methods that train, of natra_jax.methods.METHODS; 'natra+advbn' combines two",
        values.METHODS),
    "parallel": Field("auto", "how several devices are used", one_of(*MODES)),
}

_OBTAIN: Section = {
    "data": Field("", "who has the data set and how to bring it: said where it is missing"),
    "weights": Field("", "the same for the weights of the generator"),
    "classifier": Field("", "the same for the weights in train.init_from"),
}

_DATA: Section = {
    "name": Field("digits", "source of images; arrays are handed over in Python", values.SOURCE),
    "path": Field("", "for folder: the folder of classes; for tfds:NAME: the directory of NAME"),
    "label": Field("", "for tfds: feature that is the label, or attributes 'a,b'; '': its own"),
    "resolution": Field(
        0, "side of all images; 0: the generator's, or one that suits their number", values.PIXELS),
    "channels": Field(
        0, "0: the generator's; grey if all images are and it is trained here", values.CHANNELS),
    "fit": Field("crop", "how an image that is not square becomes so", one_of(*FITS)),
    "own_splits": Field(True, "False draws new splits from all that the data set has"),
    "validation_share": Field(
        0.1, "share of each class, where there is no such split", between(0, 1, "()")),
    "test_share": Field(
        0.2, "share of each class, where there is no such split", between(0, 1, "()")),
    "min_per_class": Field(0,
        "classes of fewer in train, before missing splits are drawn from it, are left out; "
        "0: none, an empty class is an error",
        at_least(0), "images"),
    "max_per_class": Field(
        0, "of each split, drawn by data.seed where there are more; 0: all", at_least(0), "images"),
    "held_out": Field(1000,
        "of val_iid that generator, encoder and shift are measured on, by data.seed; 0: all",
        at_least(0), "images"),
    "unlabelled": Field("",
        "folder (for tfds: split) of images without labels, which all that is trained sees too"),
    "covers": Field((),
        "classes that the generator makes; (): all; others are trained on as they are",
        values.CLASSES),
    "decoded_gigabytes": Field(
        2.0, "a split up to this is kept decoded, a larger one is not", at_least(0), "GB"),
    "threads": Field(2, "that read ahead while a step is computed", at_least(1)),
    "workers": Field(0, "processes, which read ahead in place of threads", at_least(0)),
    "seed": Field(0, "seed of the splits and of what the source draws", values.SEED),
    "renderings": Field(
        64, "for digits*: true variations of each held-out example (metrics worst16, worst64)",
        at_least(1)),
    "wild_per_image": Field(
        32, "for digits*: images of the generator's domain from each train example", at_least(1)),
}

_GENERATOR: Section = {
    "weights": Field(
        "", "'': trains one from nothing | package:NAME, shipped here | a checkpoint's path"),
    "transfer_from": Field("",
        "in place of weights: package:NAME or a checkpoint's path, whose generator is moved to the "
        "train images, which may be few, against a discriminator"),
    "family": Field(AUTO,
        "of the checkpoint; style_small: trained here; none: no generator, for methods without",
        one_of(AUTO, OWN, NONE, *FAMILIES)),
    "truncation": Field(
        0.0, "of a BigGAN's prior and statistics; 0: as its checkpoint has it", between(0, 1)),
    "dtype": Field("float32",
        "of a StyleGAN2's blocks of high resolution", one_of("float32", "bfloat16", "float16")),
    "resolution": Field(0,
        "side of the images of one trained here, a power of two; 0: the data's",
        at_least(0), "pixels"),
    "channels_out": Field(0, "channels of its images; 0: the data's", values.CHANNELS),
    "seed": Field(0, "seed of its training", values.SEED),
    "code_dim": Field(64, "D, numbers in a code", at_least(1)),
    "base_channels": Field(
        32, "at full resolution; doubled at each lower one", at_least(1), "channels"),
    "max_channels": Field(64, "most at any resolution", at_least(1), "channels"),
    "steps": Field(4000, "updates of training from nothing", at_least(1)),
    "batch_size": Field(64, "of an update", at_least(1), "images"),
    "learning_rate": Field(3e-3, "AdamW's; warm-up in 1/15 of the steps, cosine to 0", above(0)),
    "weight_decay": Field(1e-4, "of AdamW", at_least(0)),
    "kl_weight": Field(0.2, "weight of KL against the sum of squared pixel errors", at_least(0)),
    "augment": Field((), "changes of the autoencoder's images", each_of(*AUGMENTATIONS)),
    "adversarial": {
        "steps": Field(0,
            "of each network against a discriminator, from the autoencoder's decoder on; 0: none",
            at_least(0)),
        "batch_size": Field(32, "real ones, and as many generated", at_least(1), "images"),
        "learning_rate": Field(1e-3,
            "the generator's: Adam without momentum, warm-up and cosine as above", above(0)),
        "discriminator_learning_rate": Field(2e-3, "likewise, of the discriminator", above(0)),
        "group": Field(0,
            "whose spread the discriminator is shown (minibatch standard deviation); 0: none",
            at_least(0), "images"),
        "r1": Field(1.0, "weight of the gradient penalty on real images; 0: none", at_least(0)),
        "r1_every": Field(4, "steps between penalties, each weighed so many times", at_least(1)),
        "ema": Field(
            0.999, "decay a step of the averaged weights, which are kept", between(0, 1, "[)")),
        "augment": Field(
            ("translation",), "changes of what the discriminator sees", each_of(*AUGMENTATIONS)),
        "reconstruction": Field(0.2,
            "weight of the autoencoder's loss, which goes on being trained; 0: without",
            at_least(0)),
    },
    "transfer": {
        "steps": Field(1000, "of each network, with transfer_from", at_least(1)),
        "batch_size": Field(16, "real ones, and as many generated", at_least(1), "images"),
        "learning_rate": Field(1e-3, "the synthesis network's, as adversarial's", above(0)),
        "discriminator_learning_rate": Field(2e-3, "likewise, of the discriminator", above(0)),
        "group": Field(4, "as adversarial.group", at_least(0), "images"),
        "r1": Field(1.0, "weight of the gradient penalty on real images; 0: none", at_least(0)),
        "r1_every": Field(4, "steps between penalties, each weighed so many times", at_least(1)),
        "ema": Field(
            0.99, "decay a step of the averaged weights, which are kept", between(0, 1, "[)")),
        "augment": Field(("color", "translation", "cutout"),
            "changes of what the discriminator sees", each_of(*AUGMENTATIONS)),
    },
}

_ENCODER: Section = {
    "seed": Field(0, "seed of its training", values.SEED),
    "codes": Field(
        "w+", "w: one code an image; w+: one a layer (codes expansion, N = 1)", one_of("w", "w+")),
    "widths": Field((32, 64, 128),
        "channels of its convolutions, images halved between; (): down to 4x4 pixels",
        counts(empty=True)),
    "hidden": Field(128, "units of its dense layer", at_least(1)),
    "num_codes": Field(
        1, "N, codes of an image, whose feature maps are summed (codes expansion)", at_least(1)),
    "expand_at": Field(1, "l, layer behind which they are summed, if num_codes > 1", at_least(1)),
    "domain": Field("marginal",
        "real images of NaTra eq. 9: the generator's domain (marginal), the train split (target)",
        values.DOMAIN),
    "steps": Field(1000, "iterations of two updates each (NaTra eq. 8 and 9)", at_least(1)),
    "batch_size": Field(64, "real ones, and as many generated", at_least(1), "images"),
    "learning_rate": Field(2e-3, "of AdamW", above(0)),
    "weight_decay": Field(1e-4, "of AdamW", at_least(0)),
    "gamma1": Field(1.0, "weight of the pixel error (NaTra eq. 9)", at_least(0)),
    "gamma2": Field(0.03, "weight of the perceptual error (NaTra eq. 9); 0: without", at_least(0)),
    "gamma_codes": Field(0.1, "weight of NaTra eq. 8", at_least(0)),
    "gamma_adversarial": Field(0.0, "weight of a discriminator beside; 0: without", at_least(0)),
    "pixel_loss": Field(
        "l2", "l2: as NaTra eq. 9 is printed; l1: as its text says", one_of("l2", "l1")),
    "perceptual": Field("classifier",
        "whose features: a plain classifier's, trained on the task for train.steps | vgg16's | "
        "auto: vgg16's where perceptual_weights names them", one_of("classifier", "vgg16", "auto")),
    "perceptual_weights": Field("", "for vgg16: a file with torchvision's weights, IMAGENET1K_V1"),
}

_SHIFT: Section = {
    "steps": Field(0,
        "of moving the synthesis network towards the train split (NaTra eq. 10); 0: not moved",
        at_least(0)),
    "domain": Field("target", "real images, as encoder.domain", values.DOMAIN),
    "batch_size": Field(64, "of an update", at_least(1), "images"),
    "learning_rate": Field(
        3e-4, "AdamW's without decay; warm-up in 1/15 of the steps, cosine to 0", above(0)),
    "seed": Field(0, "seed of the order of its batches", values.SEED),
}

_ENCODE: Section = {
    "batch_size": Field(500, "encoded at a time", at_least(1), "images"),
    "refine_steps": Field(
        0, "of Adam on each image's codes, from the encoder's answer on", at_least(0)),
    "refine_learning_rate": Field(0.02, "of that Adam", above(0)),
    "gamma_domain": Field(0.1,
        "weight of |codes - enc(g(codes))|^2, which keeps codes where the encoder knows them",
        at_least(0)),
}

_DIRECTIONS: Section = {
    "method": Field("umap", "how directions are found", one_of(*directions.METHODS)),
    "space": Field("activations", "what is reduced", one_of("activations", "codes")),
    "codes": Field("encoded",
        "encoded: of the generator's domain; prior: its samples; within_classes: of train images, "
        "less their class's mean, so that what varies does so at one label; within_objects: of the "
        "domain, less what tells objects apart, where images are known to show the same one",
        one_of("encoded", "prior", "within_classes", "within_objects")),
    "num_codes": Field(5000, "K, sampled codes", at_least(1)),
    "dim": Field(16, "d, coordinates of the reduction", at_least(1)),
    "neighbors": Field(15, "UMAP's n_neighbors", at_least(2)),
    "regression": Field(
        "principal", "how NaTra eq. 11 is fitted and read", one_of(*directions.REGRESSIONS)),
    "num": Field(8, "directions kept, of the largest spread", at_least(1)),
    "layers": Field((0, 1),
        "(first, last + 1) of the layers whose codes move; (first, 0): to the last; (): all; or "
        "several ranges, num in each"),
    "at": Field(0,
        "layer whose activations are seen; 0: the last that moves; 1: generators without w",
        at_least(0)),
    "truncation_psi": Field(1.0, "of the prior's codes", above(0)),
    "seed": Field(0, "seed of UMAP and of the sampling", values.SEED),
}

_SCREENING: Section = {
    "judge": Field("cross_fitted", "classifier that tells whether labels stay", values.JUDGE),
    "folds": Field(2, "for cross_fitted: each judge is trained on all but one", at_least(2)),
    "examples": Field(500, "train images that are moved", at_least(1), "images"),
    "multiples": Field((1.0, 2.0, 3.0, 4.0),
        "sizes of the moves; a direction that loses answers at the first is not proposed",
        values.MULTIPLES, "sigma"),
    "keep": Field(
        0.95, "share of answers that a useful range and the chosen set keep", between(0, 1)),
    "confounded": Field(0.1,
        "a direction that predicts labels better (0: chance, 1: without error) is left to you",
        between(0, 1)),
    "choose": Field("",
        "'': those that keep answers and are not confounded | names or numbers 'a,b' | a file "
        "like directions.json", values.CHOICE),
    "seed": Field(0, "seed of folds, examples and random moves", values.SEED),
}

_CLASSIFIER: Section = {
    "name": Field("cnn", "architecture", one_of(*CLASSIFIERS)),
    "dtype": Field("float32",
        "of what is computed before the last layer; weights stay float32",
        one_of("float32", "bfloat16")),
    "widths": Field((16, 32, 48),
        f"of cnn: channels of its stages; multiples of {GroupNorm.groups} where norm is group",
        counts()),
    "norm": Field("group", "of cnn", one_of("group", "batch")),
    "vgg16": {
        "widths": Field((64, 128, 256, 512, 512), "channels of its blocks", counts(5)),
        "dense": Field((4096, 4096),
            "units of its hidden dense layers; (): none, behind the mean over space",
            counts(empty=True)),
        "norm": Field("none", "of its convolutions", one_of("none", "batch")),
    },
    "resnet18": {
        "widths": Field((64, 128, 256, 512), "channels of its stages", counts(4)),
        "blocks": Field((2, 2, 2, 2), "residual blocks of its stages", counts(4, most=200)),
    },
    "resnet50": {
        "widths": Field((64, 128, 256, 512), "channels in its stages' bottlenecks", counts(4)),
        "blocks": Field((3, 4, 6, 3), "bottlenecks of its stages", counts(4, most=200)),
    },
    "wide_resnet": {  # of Madry et al. (2018)
        "depth": Field(32, "layers", values.WIDE_RESNET_DEPTH),
        "width": Field(10, "times 16, 32 and 64 channels of its stages", at_least(1)),
        "norm": Field("batch", "of its blocks", one_of("batch", "group")),
    },
    "factory": Field("",
        "a function of yours that makes the classifier, in place of name and what describes it",
        values.FACTORY),
}

_TRAIN: Section = {
    "init_from": Field("",
        "'': fresh weights | a method: its classifier of the same seed | a directory or .npz to "
        "fine-tune | torchvision's file, for vgg16, resnet18 and resnet50"),
    "steps": Field(
        600, "updates; 0: init_from's weights as they are, where no generator is", at_least(0)),
    "batch_size": Field(64, "clean ones; a method adds its variations", at_least(1), "images"),
    "learning_rate": Field(3e-3, "AdamW's; warm-up in 1/15 of the steps, cosine to 0", above(0)),
    "weight_decay": Field(1e-4, "of AdamW", at_least(0)),
    "clean_ratio": Field(
        0.5, "weight of the loss on clean images; variations have the rest", between(0, 1)),
    "failures_only": Field(False,
        "only variations that the classifier gets wrong count (NaTra eq. 7); not mixi and mixl"),
    "pseudo_confidence": Field(0.9,
        "at which an image without a label counts, by the label that the classifier gives it",
        between(0, 1)),
    "checkpoint_every": Field(200, "between two checkpoints", at_least(1), "steps"),
    "log_every": Field(100, "between two lines of the log", at_least(1), "steps"),
}

_JUDGE: Section = {
    "seed": Field(0, "seed of its training; none of seeds, unless data are rendered", values.SEED),
    "steps": Field(600, "updates of the judge of labels, for evaluation only", at_least(1)),
}

_EVAL: Section = {
    "batch_size": Field(500, "evaluated at a time", at_least(1), "images"),
    "extra_splits": Field((),
        "'name=folder' of images of the same classes at any depth: test_name", values.ENTRIES),
    "examples": Field(1000,
        "of a split that attacks and corruptions see, drawn by data.seed; 0: all",
        at_least(0), "images"),
    "latent_steps": Field(20, "of the latent attack behind latent_accuracy", at_least(0)),
    "latent_restarts": Field(1, "of that attack", at_least(1)),
    "latent_epsilon": Field(2.0, "its radius", at_least(0), "natra.units"),
    "thorough": Field(
        False, "also the worst of several attacks, on codes and on pixels, and corruptions"),
    "worst_steps": Field(50, "of each gradient attack behind the thorough figures", at_least(1)),
    "worst_restarts": Field(5, "of each such attack", at_least(1)),
    "worst_samples": Field(500, "of their random search", at_least(1)),
    "pixel_epsilon": Field(
        16 / 255, "radius of the thorough attack on pixels, of the range [-1, 1]", at_least(0)),
}

_DECODER: Section = {
    "steps": Field(600,
        "of a decoder of the features that advbn perturbs, which the report shows them with; 0: "
        "none", at_least(0)),
    "batch_size": Field(32, "of an update, at most", at_least(1), "images"),
    "learning_rate": Field(
        5e-3, "AdamW's without decay; warm-up in 1/15 of the steps, cosine to 0", above(0)),
}

_EXPORT: Section = {
    "method": Field(
        "", "whose failures are written out (NaTra eq. 7), of the first seed; '': the baseline's"),
    "failures_only": Field(True, "False: every variation that the search returns"),
    "epsilon": Field(2.0, "radius of the search", at_least(0), "natra.units"),
}

_REPORT: Section = {"examples": Field(8, "shown of each kind", at_least(1), "images")}

# fmt: on

FIELDS: Section = {
    **_EXPERIMENT,
    "obtain": _OBTAIN,
    "data": _DATA,
    "generator": _GENERATOR,
    "encoder": _ENCODER,
    "shift": _SHIFT,
    "encode": _ENCODE,
    "directions": _DIRECTIONS,
    "screening": _SCREENING,
    **METHODS,
    "classifier": _CLASSIFIER,
    "train": _TRAIN,
    "judge": _JUDGE,
    "eval": _EVAL,
    "decoder": _DECODER,
    "export": _EXPORT,
    "report": _REPORT,
}
