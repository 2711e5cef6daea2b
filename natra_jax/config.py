"""Experiment configurations: where they are found, which names and values they may hold."""

from __future__ import annotations

import difflib
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path

from etils import epath
from ml_collections import ConfigDict

from natra_jax import methods
from natra_jax.attacks.spaces.mixing import SOURCES as MIXING_SOURCES
from natra_jax.classifiers import CLASSIFIERS, factory
from natra_jax.classifiers.norm import GroupNorm
from natra_jax.data import FITS, source_of
from natra_jax.gan.augmentation import KINDS as AUGMENTATIONS
from natra_jax.latents import directions
from natra_jax.latents.choose import is_file
from natra_jax.latents.screening import CROSS_FITTED, NO_JUDGE
from natra_jax.methods import natra
from natra_jax.training.parallel import MODES
from natra_jax.types import Generator, UserError
from natra_jax.weights import FAMILIES
from natra_jax.weights.families import AUTO
from natra_jax.weights.generator_config import NONE, OWN, describe, has_generator
from natra_jax.weights.generator_config import is_file as names_checkpoint


def find(path: str) -> str:
    """The path itself if it is there, else the installed experiment of that name. Raises UserError if there is neither."""
    if Path(path).is_file():
        return path
    installed = Path(__file__).parent / "experiments"
    if (installed / Path(path).name).is_file():
        return str(installed / Path(path).name)
    names = sorted(p.name for p in installed.glob("*.py") if p.stem not in ("__init__", "base"))
    raise UserError(
        f"--config={path}: no such file, and no installed experiment of that name ({nearest(Path(path).name, names)})"
    )


def load(path: str) -> ConfigDict:
    """The configuration that get_config() of the Python file at path returns. Raises UserError where there is none."""
    spec = importlib.util.spec_from_file_location("natra_jax_experiment", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config()
    except Exception as error:
        raise UserError(f"--config={path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"--config={path}: get_config() must return an ml_collections.ConfigDict, got {type(config).__name__}"
        )
    return config


def check_field(name: str, config: ConfigDict) -> None:
    """Raises UserError with the nearest valid name if the dotted field name is not one of config's."""
    names = list(flatten(config))
    if name not in names:
        raise UserError(f"unknown config field {name} ({nearest(name, names)})")


def flatten(config: ConfigDict, prefix: str = "") -> dict[str, object]:
    """{dotted name: value} of every field, tuples as they are."""
    fields = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            fields |= flatten(value, f"{prefix}{key}.")
        else:
            fields[prefix + key] = value
    return fields


def to_json(config: ConfigDict) -> str:
    """The configuration as a person would read it."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def check_names(config: ConfigDict) -> None:
    """Raises UserError, naming the field, if config has one that no experiment has, lacks one, or has one of another type."""
    from natra_jax.experiments import base

    defaults = flatten(base.get_config())
    fields = flatten(config)
    for name in fields:
        if name not in defaults:
            raise UserError(f"unknown config field {name} ({nearest(name, defaults)})")
    for name, default in defaults.items():
        if name not in fields:
            raise UserError(f"config field {name} is missing: start from base.get_config()")
        _check_type(name, fields[name], default)


def validate(config: ConfigDict, device_count: int) -> Generator | None:
    """The generator that config describes, None where it does without. Raises UserError, naming the field, for the first value that
    cannot work.
    """
    check_names(config)
    fields = flatten(config)
    choices = {
        "parallel": MODES,
        "data.fit": FITS,
        "generator.family": (AUTO, OWN, NONE, *FAMILIES),
        "generator.dtype": ("float32", "bfloat16", "float16"),
        "encoder.codes": ("w", "w+"),
        "encoder.domain": ("marginal", "target", "both"),
        "shift.domain": ("marginal", "target", "both"),
        "encoder.pixel_loss": ("l2", "l1"),
        "encoder.perceptual": ("classifier", "vgg16"),
        "directions.method": directions.METHODS,
        "directions.space": ("activations", "codes"),
        "directions.codes": ("encoded", "prior", "within_classes"),
        "directions.regression": directions.REGRESSIONS,
        "natra.norm": ("linf", "l2"),
        "natra.units": ("sigma", "raw"),
        "natra.search": natra.SEARCHES,
        "natra.loss": natra.LOSSES,
        "random.kind": natra.RANDOM_KINDS,
        "advmix.source": MIXING_SOURCES,
        "classifier.name": CLASSIFIERS,
        "classifier.dtype": ("float32", "bfloat16"),
        "classifier.norm": ("group", "batch"),
        "classifier.vgg16.norm": ("none", "batch"),
        "classifier.wide_resnet.norm": ("batch", "group"),
    }
    for name, valid in choices.items():
        if fields[name] not in valid:
            raise UserError(
                f"config field {name} is {fields[name]!r} ({nearest(fields[name], valid)})"
            )
    for method in fields["methods"]:
        _require_method(method)
    named, exported = ", ".join(fields["methods"]), fields["export.method"]
    _require(
        "export.method",
        exported,
        exported in ("", *fields["methods"]),
        f"empty, or one of methods ({named})",
    )

    counts = [
        "generator.steps", "encoder.steps", "judge.steps", "generator.batch_size", "encoder.batch_size", "train.batch_size",
        "eval.batch_size", "data.renderings", "data.wild_per_image", "directions.num", "directions.dim", "directions.num_codes",
        "natra.restarts", "eval.latent_restarts", "train.checkpoint_every", "train.log_every", "report.examples", "generator.code_dim",
        "generator.base_channels", "generator.max_channels", "encoder.hidden", "encoder.num_codes", "shift.batch_size", "encode.batch_size",
        "generator.adversarial.batch_size", "generator.adversarial.r1_every", "advmix.restarts", "advbn.group_size", "advbn.steps",
        "eval.worst_steps", "eval.worst_restarts", "eval.worst_samples", "data.threads",
    ]  # fmt: skip
    positive = [
        "generator.learning_rate",
        "encoder.learning_rate",
        "train.learning_rate",
        "natra.epsilon_max",
        "natra.truncation",
    ]
    positive += ["shift.learning_rate", "encode.refine_learning_rate"]
    positive += ["directions.truncation_psi", "mixup.alpha", "advbn.learning_rate"]
    positive += [
        "generator.adversarial.learning_rate",
        "generator.adversarial.discriminator_learning_rate",
    ]
    not_negative = [
        "natra.num_steps", "natra.rho", "natra.smoothing", "natra_oa.epsilon", "adv.epsilon", "adv.step_size", "adv.num_steps",
        "eval.latent_steps", "eval.latent_epsilon", "encoder.gamma1", "encoder.gamma2", "encoder.gamma_codes", "generator.kl_weight",
        "generator.adversarial.steps", "generator.adversarial.r1", "generator.adversarial.reconstruction", "generator.adversarial.group",
        "generator.weight_decay", "encoder.weight_decay", "train.weight_decay", "data.seed", "generator.seed", "encoder.seed",
        "directions.seed", "judge.seed", "natra.kappa", "advmix.epsilon", "advmix.num_steps", "augment.crop", "augment.brightness",
        "augment.contrast", "augment.saturation", "augment.hue", "augment.cutout", "advbn.num_steps", "advbn.step_size", "advbn.epsilon",
        "advbn.momentum", "advbn.weight_decay", "eval.pixel_epsilon", "export.epsilon", "encoder.gamma_adversarial", "shift.steps",
        "shift.seed", "encode.refine_steps", "encode.gamma_domain", "data.workers", "data.min_per_class", "data.max_per_class", "data.held_out",
        "data.decoded_gigabytes", "eval.examples", "train.steps",
    ]  # fmt: skip
    for name in counts:
        _require(name, fields[name], fields[name] >= 1, "at least 1")
    for name in positive:
        _require(name, fields[name], fields[name] > 0, "above 0")
    for name in not_negative:
        _require(name, fields[name], fields[name] >= 0, "at least 0")
    decay = fields["generator.adversarial.ema"]
    _require("generator.adversarial.ema", decay, 0 <= decay < 1, "at least 0 and below 1")
    group, images = (
        fields["generator.adversarial.group"],
        fields["generator.adversarial.batch_size"],
    )
    divides = group == 0 or images % group == 0
    _require(
        "generator.adversarial.group",
        group,
        divides,
        f"0, or a divisor of generator.adversarial.batch_size, {images}",
    )
    for name in ("generator.augment", "generator.adversarial.augment"):
        _require(
            name,
            fields[name],
            set(fields[name]) <= set(AUGMENTATIONS),
            f"a tuple of {', '.join(AUGMENTATIONS)}, or empty",
        )
    _require("name", fields["name"], bool(fields["name"]), "a name for the experiment")
    for name in ("seeds", "methods"):
        unique = len(set(fields[name])) == len(fields[name]) > 0
        _require(name, fields[name], unique, "a tuple of at least one entry, none twice")
    _require(
        "seeds",
        fields["seeds"],
        all(isinstance(s, int) and s >= 0 for s in fields["seeds"]),
        "whole numbers of at least 0",
    )
    _require(
        "directions.neighbors",
        fields["directions.neighbors"],
        fields["directions.neighbors"] >= 2,
        "at least 2",
    )
    confidence = fields["train.pseudo_confidence"]
    _require("train.pseudo_confidence", confidence, 0 <= confidence <= 1, "from 0 to 1")
    _require(
        "train.clean_ratio",
        fields["train.clean_ratio"],
        0 <= fields["train.clean_ratio"] <= 1,
        "from 0 to 1",
    )
    _check_data(fields)
    _check_generator(config.generator)
    generator = describe(config.generator) if has_generator(config.generator) else None
    _check_latents(fields, generator)
    _check_classifier(fields)
    _check_perceptual(fields)
    _check_screening(fields)
    source = fields["train.init_from"]
    ready = source and not has_generator(config.generator)
    _require(
        "train.steps",
        fields["train.steps"],
        fields["train.steps"] or ready,
        "at least 1; 0 takes weights, and no generator",
    )
    known = source in ("", *fields["methods"]) or epath.Path(source).expanduser().exists()
    _require(
        "train.init_from",
        source,
        known,
        f"empty, one of the experiment's methods ({named}), or a path that exists",
    )
    fine_tuned = source in fields["methods"] and methods.find(source).fine_tunes
    _require(
        "train.init_from",
        source,
        not fine_tuned,
        "a method that does not itself start from another's classifier",
    )
    batch_size = fields["train.batch_size"]
    divides = batch_size % device_count == 0
    _require(
        "train.batch_size",
        batch_size,
        divides,
        f"a multiple of the number of devices, {device_count}",
    )
    if any(methods.find(method).perturbs for method in fields["methods"]):
        share, group = batch_size // device_count, fields["advbn.group_size"]
        _require(
            "advbn.group_size",
            group,
            share % group == 0,
            f"a divisor of the {share} examples of a batch that each device gets",
        )
    return generator


def _check_generator(c: ConfigDict) -> None:
    """c: the section generator."""
    _require("generator.truncation", c.truncation, 0 <= c.truncation <= 1, "from 0 to 1")
    if names_checkpoint(c):
        _require(
            "generator.family", c.family, c.family != OWN, f"the family of {c.weights}, or {AUTO}"
        )
        return
    families = (AUTO, OWN) if c.weights else (AUTO, OWN, NONE)
    _require(
        "generator.family",
        c.family,
        c.family in families,
        f"{' or '.join(families)} where generator.weights is no checkpoint",
    )
    if c.family == NONE:
        return
    for name, default in (("truncation", 0.0), ("dtype", "float32")):
        _require(
            f"generator.{name}",
            c[name],
            c[name] == default,
            f"{default!r} where generator.weights is no checkpoint",
        )
    resolution = c.resolution
    _require(
        "generator.resolution",
        resolution,
        resolution >= 8 and resolution & (resolution - 1) == 0,
        "a power of two, at least 8",
    )


def _check_data(fields: dict[str, object]) -> None:
    name = fields["data.name"]
    source_of(str(name))  # raises UserError if there is none
    shares = {share: fields[f"data.{share}"] for share in ("validation_share", "test_share")}
    for share, value in shares.items():
        _require(f"data.{share}", value, 0 < value < 1, "above 0 and below 1")
    _require(
        "data.test_share",
        shares["test_share"],
        sum(shares.values()) < 1,
        "below 1 together with data.validation_share",
    )
    _require(
        "data.resolution",
        fields["data.resolution"],
        fields["data.resolution"] >= 8,
        "at least 8 pixels, or 0 for what suits",
    )
    apart = name == "digits" or fields["judge.seed"] not in fields["seeds"]
    _require(
        "judge.seed",
        fields["judge.seed"],
        apart,
        "none of seeds, which the judge is independent of",
    )
    for field in ("data.channels", "generator.channels_out"):
        _require(
            field,
            fields[field],
            fields[field] in (0, 1, 3),
            "3 for RGB, 1 for grey, or 0 for what suits",
        )
    covers = fields["data.covers"]
    _require(
        "data.covers",
        covers,
        all(isinstance(c, str) for c in covers) and len(set(covers)) == len(covers),
        "names of classes",
    )


def _check_latents(fields: dict[str, object], generator: Generator | None) -> None:
    """What takes a generator: refused where there is none, in range where there is one."""
    for method in fields["methods"] if generator is None else ():
        _require(
            "methods",
            fields["methods"],
            not methods.find(method).latent,
            f"without {method}, or generator.family not {NONE}",
        )
    if generator is None:
        return
    num_layers, depth = generator.num_layers, generator.depth
    checked = {"directions.layers": ", or a tuple of several such, none twice"}
    if any("advmix" in methods.find(method).fields for method in fields["methods"]):
        checked["advmix.layers"] = ""
    for name, wanted in checked.items():
        valid = _are_ranges(fields[name], num_layers, several=bool(wanted))
        _require(name, fields[name], valid, f"(first, last + 1) within 0..{num_layers}{wanted}")
    at, reached = (
        fields["directions.at"],
        1 + max(first for first, _ in directions.ranges(fields["directions.layers"])),
    )
    valid = at == 0 or reached <= at <= depth
    _require(
        "directions.at",
        at,
        valid,
        f"0, or a layer that all of directions.layers reach, {reached}..{depth}",
    )
    widths = fields["encoder.widths"]
    _require(
        "encoder.widths",
        widths,
        len(widths) > 0 and all(isinstance(w, int) and w > 0 for w in widths),
        "whole numbers above 0",
    )
    at = fields["encoder.expand_at"]
    _require("encoder.expand_at", at, 1 <= at <= depth, f"a layer in 1..{depth}")
    kind, several = fields["random.kind"], fields["encoder.num_codes"] > 1
    _require(
        "random.kind", kind, kind == "box" or not several, "box where encoder.num_codes is above 1"
    )


def _are_ranges(layers: tuple, num_layers: int, *, several: bool) -> bool:
    """Whether layers are (first, stop) within 0..num_layers, or where several may be, several of these, none twice."""
    try:
        ranges = directions.ranges(layers)
    except ValueError:
        return False
    within = all(0 <= first < stop <= num_layers for first, stop in ranges)
    return within and len(set(ranges)) == len(ranges) and (several or layers == ranges[0])


def _check_classifier(fields: dict[str, object]) -> None:
    sizes = {
        "widths": 0,
        "vgg16.widths": 5,
        "resnet18.widths": 4,
        "resnet18.blocks": 4,
        "resnet50.widths": 4,
        "resnet50.blocks": 4,
    }
    for name, count in sizes.items():  # 0: any number of them but none
        value = fields[f"classifier.{name}"]
        valid = len(value) == (count or max(1, len(value))) and _are_counts(value)
        _require(
            f"classifier.{name}",
            value,
            valid,
            f"{count} whole numbers above 0" if count else "whole numbers above 0",
        )
    widths, dense = fields["classifier.widths"], fields["classifier.vgg16.dense"]
    if fields["classifier.norm"] == "group":
        divide = all(w % GroupNorm.groups == 0 for w in widths)
        _require(
            "classifier.widths",
            widths,
            divide,
            f"multiples of {GroupNorm.groups} where classifier.norm is group",
        )
    _require("classifier.vgg16.dense", dense, _are_counts(dense), "whole numbers above 0, or empty")
    depth, width = fields["classifier.wide_resnet.depth"], fields["classifier.wide_resnet.width"]
    _require(
        "classifier.wide_resnet.depth",
        depth,
        depth >= 8 and depth % 6 == 2,
        "6 n + 2 for a whole n above 0, such as 32",
    )
    _require("classifier.wide_resnet.width", width, width >= 1, "at least 1")
    if own := fields["classifier.factory"]:
        _require(
            "classifier.factory", own, _names_function(own), "empty, or 'package.module:function'"
        )
        factory.find(own)


def _are_counts(values: tuple) -> bool:
    return all(isinstance(n, int) and n > 0 for n in values)


def _check_perceptual(fields: dict[str, object]) -> None:
    name, weights = "encoder.perceptual_weights", fields["encoder.perceptual_weights"]
    if fields["encoder.perceptual"] != "vgg16":
        _require(name, weights, not weights, "empty unless encoder.perceptual is vgg16")
        return
    wanted = (
        "a file with torchvision's weights where encoder.perceptual is vgg16: vgg16-397923af.pth, which "
        "torchvision.models.vgg16(weights='IMAGENET1K_V1') leaves in ~/.cache/torch/hub/checkpoints"
    )
    _require(name, weights, bool(weights) and epath.Path(weights).expanduser().exists(), wanted)


def _check_screening(fields: dict[str, object]) -> None:
    folds, examples, judge = (
        fields["screening.folds"],
        fields["screening.examples"],
        fields["screening.judge"],
    )
    _require("screening.folds", folds, folds >= 2, "at least 2")
    _require("screening.examples", examples, examples >= 1, "at least 1")
    _require(
        "screening.seed", fields["screening.seed"], fields["screening.seed"] >= 0, "at least 0"
    )
    multiples = fields["screening.multiples"]
    rising = len(multiples) > 0 and all(isinstance(m, int | float) for m in multiples)
    rising = rising and all(
        low < high for low, high in zip((0, *multiples), multiples, strict=False)
    )
    _require("screening.multiples", multiples, rising, "numbers that rise from above 0")
    for name in ("screening.keep", "screening.confounded"):
        _require(name, fields[name], 0 <= fields[name] <= 1, "from 0 to 1")
    choose = fields["screening.choose"].strip()
    found = not is_file(choose) or epath.Path(choose).expanduser().exists()
    _require(
        "screening.choose",
        choose,
        found,
        "empty, names or numbers of directions, or a .json file that exists",
    )
    if judge in (NO_JUDGE, CROSS_FITTED) or epath.Path(judge).expanduser().exists():
        return
    wanted = f"{NO_JUDGE}, {CROSS_FITTED}, a path that exists, or 'package.module:function'"
    _require("screening.judge", judge, _names_function(judge), wanted)
    factory.find(judge, "config field screening.judge")


def _names_function(text: str) -> bool:
    """Whether it reads 'package.module:function'."""
    module, _, function = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), *function.split(".")))


def _require_method(method: str) -> None:
    try:
        methods.find(method)
    except KeyError as error:
        raise UserError(
            f"config field methods names {method!r} ({nearest(error.args[0], methods.METHODS)})"
        ) from error
    except ValueError as error:
        raise UserError(f"config field methods: {error}") from error


def _require(name: str, value: object, holds: bool, wanted: str) -> None:
    if not holds:
        raise UserError(f"config field {name} is {value!r}: it must be {wanted}")


def _check_type(name: str, value: object, default: object) -> None:
    wanted = type(default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return
    if type(value) is not wanted:
        raise UserError(
            f"config field {name} is {value!r}: it must be of type {wanted.__name__}, such as {default!r}"
        )


def nearest(name: object, valid: Iterable[str]) -> str:
    """'did you mean ...?' with the nearest of the valid names, or all of them where none is near."""
    valid = list(valid)
    near = difflib.get_close_matches(str(name), valid, n=1)
    if not near and "." in str(name):
        last = {v.rsplit(".", 1)[-1]: v for v in valid}
        near = [last[m] for m in difflib.get_close_matches(str(name).rsplit(".", 1)[-1], last, n=1)]
    return f"did you mean {near[0]}?" if near else f"valid: {', '.join(valid)}"
