"""Checks of a whole config: its names and types, each value by the table, and fields together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from natra_jax import methods
from natra_jax.classifiers import factory
from natra_jax.classifiers.norm import GroupNorm
from natra_jax.config.checks import brief, nearest, require
from natra_jax.config.experiment import flatten
from natra_jax.config.field import Field, by_name
from natra_jax.config.fields import FIELDS
from natra_jax.config.values import SEED, SEEDS, is_ready_judge
from natra_jax.data.survey import source_of
from natra_jax.latents import directions
from natra_jax.latents.choose import is_file
from natra_jax.types import Generator, UserError
from natra_jax.weights import generator_config
from natra_jax.weights.families import AUTO
from natra_jax.weights.generator_config import NONE, OWN, PACKAGE
from natra_jax.workdir import require_path

Fields = Mapping[str, Any]  # values by dotted name
_LARGEST, _MOST = float(np.finfo(np.float32).max), 2**31 - 1
_DIGITS = 9  # of a number of a direction


def check_names(config: ConfigDict) -> None:
    """Raise UserError, naming the field, for one that is unknown, missing or of another type.

    So is one whose text is a path that nothing can open.
    """
    table, fields = by_name(FIELDS), flatten(config)
    for name in fields:
        if name not in table:
            raise UserError(f"unknown config field {name} ({nearest(name, table)})")
    for name, field in table.items():
        if name not in fields:
            raise UserError(f"config field {name} is missing: start from base.get_config()")
        _check_type(name, fields[name], field.default)
        _check_text(name, fields[name])
        if isinstance(value := fields[name], str):
            require_path(value, f"config field {name}")


def check_classifier(section: Mapping[str, Any]) -> None:
    """Raise UserError, naming the field, for one that is unknown or has a value that cannot be.

    section: fields of the section classifier, as JSON has them: lists stand for tuples.
    """
    table = {n: field for n, field in by_name(FIELDS).items() if n.startswith("classifier.")}
    fields = dict(_flat("classifier", section))
    for name, value in fields.items():
        if name not in table:
            raise UserError(f"unknown config field {name[:80]!r} ({nearest(name[:80], table)})")
        _check_type(name, value, table[name].default)
        _check_value(name, value, table[name])
    _check_classifier(fields)


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of the fields in a section; names that have dots come quoted."""
    if isinstance(value, Mapping) and name not in by_name(FIELDS):
        for key, entry in value.items():
            yield from _flat(f"{name}.{key!r}" if "." in key else f"{name}.{key}", entry)
    else:
        yield name, tuple(value) if isinstance(value, list) else value


def _check_value(name: str, value: Any, field: Field) -> None:
    field.valid.require(name, value)
    if field.valid not in (SEED, SEEDS):
        _check_size(name, value)


def validate(
    config: ConfigDict,
    device_count: int,
    describe: Callable[[ConfigDict], Generator] = generator_config.describe,
) -> Generator | None:
    """Return the generator that a resolved config describes, or None where it does without.

    Args:
      config: what `natra_jax.resolve` returns.
      device_count: devices among which a batch is divided.
      describe: takes the section generator and returns what it describes, without parameters.

    Raises:
      UserError: naming the field, for the first value that cannot work.
    """
    check_names(config)
    fields = flatten(config)
    for name, field in by_name(FIELDS).items():
        _check_value(name, fields[name], field)
    _check_methods(fields)
    _check_data(fields)
    _check_generator(config.generator)
    has_generator = generator_config.has_generator(config.generator)
    generator = describe(config.generator) if has_generator else None
    _check_images(fields, generator)
    _check_latents(fields, generator)
    _check_classifier(fields)
    _check_perceptual(fields)
    _check_functions(fields)
    _check_training(fields, has_generator)
    _check_batches(fields, device_count)
    return generator


def _check_type(name: str, value: object, default: object) -> None:
    wanted = type(default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return
    if type(value) is not wanted:
        raise UserError(
            f"config field {name} is {brief(value)}: it must be of type {wanted.__name__}, "
            f"such as {default!r}"
        )


def _check_text(name: str, value: object) -> None:
    """Raise UserError for characters that no text has: they come of bytes that were none."""
    try:
        for text in value if isinstance(value, tuple) else (value,):
            str(text).encode()
    except UnicodeEncodeError as error:
        raise UserError(f"config field {name} is {ascii(value)}: it must be UTF-8 text") from error


def _check_size(name: str, value: object) -> None:
    """Raise UserError for numbers that float32 or int32 cannot hold, in tuples as well."""
    if isinstance(value, tuple):
        for entry in value:
            _check_size(name, entry)
    if isinstance(value, float):
        require(name, value, abs(value) <= _LARGEST, f"a finite number, at most {_LARGEST:.3g}")
    if isinstance(value, int):
        require(name, value, abs(value) <= _MOST, f"at most {_MOST}")


def _check_methods(fields: Fields) -> None:
    require("name", fields["name"], fields["name"], "a name for the experiment")
    for method in fields["methods"]:
        try:
            methods.find(method)
        except KeyError as error:
            hint = nearest(error.args[0], methods.METHODS)
            raise UserError(f"config field methods names {method!r} ({hint})") from error
        except ValueError as error:
            raise UserError(f"config field methods: {error}") from error
    exported, named = fields["export.method"], ", ".join(fields["methods"])
    known = exported in ("", *fields["methods"])
    require("export.method", exported, known, f"empty, or one of methods ({named})")


def _check_data(fields: Fields) -> None:
    share = fields["data.test_share"]
    fits = share + fields["data.validation_share"] < 1
    require("data.test_share", share, fits, "below 1 together with data.validation_share")
    # the judge of digits is trained on images of its own, and may share a seed
    seed = fields["judge.seed"]
    apart = fields["data.name"] == "digits" or seed not in fields["seeds"]
    require("judge.seed", seed, apart, "none of seeds, which the judge is independent of")


def _check_generator(c: ConfigDict) -> None:
    if generator_config.is_file(c):
        known = c.family != OWN
        require("generator.family", c.family, known, f"the family of {c.weights}, or {AUTO}")
        return
    families = (AUTO, OWN) if c.weights else (AUTO, OWN, NONE)
    unnamed = "where generator.weights is no checkpoint"
    wanted = f"{' or '.join(families)} {unnamed}"
    require("generator.family", c.family, c.family in families, wanted)
    if c.family == NONE:
        return
    for name, default in (("truncation", 0.0), ("dtype", "float32")):
        require(f"generator.{name}", c[name], c[name] == default, f"{default!r} {unnamed}")
    pixels = c.resolution
    is_power = pixels >= 8 and pixels & (pixels - 1) == 0
    require("generator.resolution", pixels, is_power, "a power of two, at least 8")


def _check_images(fields: Fields, generator: Generator | None) -> None:
    """Raise UserError unless the generator's images have the size and channels of the data's."""
    if generator is None:
        return
    data, weights = fields["data.name"], fields["generator.weights"]
    is_own = not weights or weights.startswith(PACKAGE)
    for name, made, own, unit in (
        ("resolution", generator.resolution, "resolution", "pixels a side"),
        ("channels", generator.channels, "channels_out", "channels"),
    ):
        given, field = fields[f"data.{name}"], f"generator.{own if is_own else 'weights'}"
        if made == given:
            continue
        advice = "set it to 0, the data's" if is_own else f"take a generator of {given} {unit}"
        if source_of(data).reads_path:  # others have what they have
            advice += f", or set data.{name}={made}"
        raise UserError(
            f"config field {field} is {brief(fields[field])}: its images have {made} {unit}, "
            f"those of {data} {given}: {advice}"
        )


def _check_latents(fields: Fields, generator: Generator | None) -> None:
    """Raise UserError for fields that need a generator: for methods, if there is none."""
    if generator is None:
        for method in fields["methods"]:
            wanted = f"without {method}, or generator.family not {NONE}"
            require("methods", fields["methods"], not methods.find(method).latent, wanted)
        return
    num_layers, depth = generator.num_layers, generator.depth
    layers, at = fields["directions.layers"], fields["directions.at"]
    wanted = f"(first, last + 1) within 0..{num_layers}"
    several = _are_ranges(layers, num_layers, several=True)
    require(
        "directions.layers", layers, several, f"{wanted}, or a tuple of several such, none twice"
    )
    if any("advmix.layers" in methods.find(method).fields for method in fields["methods"]):
        replaced = fields["advmix.layers"]
        single = _are_ranges(replaced, num_layers, several=False)
        require("advmix.layers", replaced, single, wanted)
    reached = 1 + max(first for first, _ in directions.ranges(layers))
    wanted = f"0, or a layer that all of directions.layers reach, {reached}..{depth}"
    require("directions.at", at, at == 0 or reached <= at <= depth, wanted)
    widths, at = fields["encoder.widths"], fields["encoder.expand_at"]
    require("encoder.widths", widths, widths, "whole numbers above 0")
    require("encoder.expand_at", at, 1 <= at <= depth, f"a layer in 1..{depth}")
    kind, single = fields["random.kind"], fields["encoder.num_codes"] == 1
    wanted = "box where encoder.num_codes is above 1"
    require("random.kind", kind, kind == "box" or single, wanted)
    _check_choice(fields)


def _check_choice(fields: Fields) -> None:
    """Raise UserError for the number of a direction beyond those that are sought."""
    choice, num = fields["screening.choose"], fields["directions.num"]
    if is_file(choice):
        return
    count = num * len(directions.ranges(fields["directions.layers"]))
    beyond = [
        word
        for word in map(str.strip, choice.split(","))
        if word.isdecimal() and (len(word) > _DIGITS or int(word) >= count)
    ]
    wanted = f"names, or numbers below {count}, the directions that directions.num={num} finds"
    require("screening.choose", choice, not beyond, wanted)


def _are_ranges(layers: tuple, num_layers: int, *, several: bool) -> bool:
    """Tell whether layers are (first, stop) within 0..num_layers.

    several: they may also be a tuple of such ranges, none twice.
    """
    try:
        ranges = directions.ranges(layers)
    except ValueError:
        return False
    within = all(0 <= first < stop <= num_layers for first, stop in ranges)
    return within and len(set(ranges)) == len(ranges) and (several or layers == ranges[0])


def _check_classifier(fields: Fields) -> None:
    name, groups = "classifier.widths", GroupNorm.groups
    if fields.get("classifier.norm") == "group":
        widths = fields.get(name, ())
        divide = all(width % groups == 0 for width in widths)
        require(name, widths, divide, f"multiples of {groups} where classifier.norm is group")


def _check_perceptual(fields: Fields) -> None:
    name, weights = "encoder.perceptual_weights", fields["encoder.perceptual_weights"]
    if fields["encoder.perceptual"] != "vgg16":
        require(name, weights, not weights, "empty unless encoder.perceptual is vgg16")
        return
    wanted = (
        "a file with torchvision's weights where encoder.perceptual is vgg16: vgg16-397923af.pth, "
        "which torchvision.models.vgg16(weights='IMAGENET1K_V1') leaves in "
        "~/.cache/torch/hub/checkpoints"
    )
    require(name, weights, weights and epath.Path(weights).expanduser().exists(), wanted)


def _check_functions(fields: Fields) -> None:
    """Raise UserError unless the functions that fields name can be imported."""
    if path := fields["classifier.factory"]:
        factory.find(path)
    if not is_ready_judge(judge := fields["screening.judge"]):
        factory.find(judge, "config field screening.judge")


def _check_training(fields: Fields, has_generator: bool) -> None:
    steps, source = fields["train.steps"], fields["train.init_from"]
    ready = source and not has_generator
    require("train.steps", steps, steps or ready, "at least 1; 0 takes weights, and no generator")
    is_method = source in fields["methods"]
    known = not source or is_method or epath.Path(source).expanduser().exists()
    named = ", ".join(fields["methods"])
    wanted = f"empty, one of the experiment's methods ({named}), or a path that exists"
    require("train.init_from", source, known, wanted)
    fine_tuned = is_method and methods.find(source).fine_tunes
    wanted = "a method that does not itself start from another's classifier"
    require("train.init_from", source, not fine_tuned, wanted)


def _check_batches(fields: Fields, device_count: int) -> None:
    size, group = fields["train.batch_size"], fields["advbn.group_size"]
    wanted = f"a multiple of the number of devices, {device_count}"
    require("train.batch_size", size, size % device_count == 0, wanted)
    if any(methods.find(method).perturbs for method in fields["methods"]):
        share = size // device_count
        wanted = f"a divisor of the {share} examples of a batch that each device gets"
        require("advbn.group_size", group, share % group == 0, wanted)
    images, group = (fields[f"generator.adversarial.{name}"] for name in ("batch_size", "group"))
    wanted = f"0, or a divisor of generator.adversarial.batch_size, {images}"
    divides = group == 0 or images % group == 0
    require("generator.adversarial.group", group, divides, wanted)
