"""Config fields that are left to the data or to the generator, filled in."""

from __future__ import annotations

from etils import epath
from ml_collections import ConfigDict

from natra_jax.config import check_names
from natra_jax.data.survey import Survey, source_of, survey
from natra_jax.gan.networks import widths_for
from natra_jax.inputs import Inputs
from natra_jax.types import UserError
from natra_jax.weights.generator_config import (
    checkpoint,
    checkpoint_field,
    has_generator,
    is_file,
)


def resolve(
    config: ConfigDict, found: Survey | None = None, inputs: Inputs | None = None
) -> ConfigDict:
    """Return a copy of config in which fields that are left open have their values.

    These are data.resolution, data.channels, generator.resolution, generator.channels_out,
    encoder.perceptual, directions.layers, advmix.layers and encoder.widths.

    Args:
      config: the experiment.
      found: the survey of the data; None makes one.
      inputs: the files that config names; None reads them anew.

    Raises:
      UserError: for a wrong name or type in config, and for data or weights that are missing.
    """
    check_names(config)
    _require_there(config)
    found, inputs = found or survey(config.data), inputs or Inputs()
    resolved = ConfigDict(config.to_dict())
    resolved.data.resolution = _resolution(resolved, found, inputs)
    if resolved.encoder.perceptual == "auto":
        has_weights = bool(resolved.encoder.perceptual_weights)
        resolved.encoder.perceptual = "vgg16" if has_weights else "classifier"
    resolved.data.channels = _channels(resolved, found, inputs)
    if not has_generator(resolved.generator):
        return resolved
    if not is_file(resolved.generator) and not resolved.generator.resolution:
        resolved.generator.resolution = resolved.data.resolution
    resolved.generator.channels_out = resolved.generator.channels_out or resolved.data.channels
    sections = (resolved.directions, resolved.advmix)
    open_layers = any(section.layers[1:] in ((), (0,)) for section in sections)
    if open_layers or not resolved.encoder.widths:
        generator = inputs.generator(resolved.generator)
        for section in sections:
            section.layers = _to_the_last(section.layers, generator.num_layers)
        resolved.encoder.widths = resolved.encoder.widths or widths_for(generator.resolution)
    return resolved


def _to_the_last(layers: tuple, num_layers: int) -> tuple:
    """Return layers with the last filled in: () is all, (first, 0) all from first on."""
    first, *stop = layers or (0, 0)
    return (first, num_layers) if stop == [0] else layers


def _require_there(config: ConfigDict) -> None:
    """Raise UserError if something is missing of which the experiment says where it is had."""
    weights = checkpoint(config.generator) if is_file(config.generator) else ""
    init_from = config.train.init_from
    named = {
        "weights": (f"generator.{checkpoint_field(config.generator)}", weights, ""),
        "classifier": ("train.init_from", "" if init_from in config.methods else init_from, ""),
    }
    if source_of(config.data.name).reads_path:
        data_set = config.data.name.partition(":")[2]
        named = {"data": ("data.path", config.data.path, data_set)} | named
    for what, (field, path, below) in named.items():
        missing = not (epath.Path(path).expanduser() / below).exists() if path else what == "data"
        if missing and (advice := config.obtain[what]):
            raise UserError(f"config field {field} is {path!r}: not there: {advice}")


def _resolution(config: ConfigDict, found: Survey, inputs: Inputs) -> int:
    if found.resolution is not None:
        _require_rendered(config, "resolution", found.resolution, "pixels")
        return found.resolution
    if config.data.resolution:
        return config.data.resolution
    if is_file(config.generator):
        return inputs.generator(config.generator).resolution
    return config.generator.resolution or found.suitable_resolution()


def _channels(config: ConfigDict, found: Survey, inputs: Inputs) -> int:
    if found.channels is not None:
        _require_rendered(config, "channels", found.channels, "channels")
        return found.channels
    if config.data.channels:
        return config.data.channels
    if is_file(config.generator):
        return inputs.generator(config.generator).channels
    if has_generator(config.generator) and config.generator.channels_out:
        return config.generator.channels_out
    if has_generator(config.generator) and checkpoint(config.generator):
        return 3
    return 1 if found.is_grey() else 3


def _require_rendered(config: ConfigDict, field: str, fixed: int, unit: str) -> None:
    """Raise UserError if config asks a source that is rendered for another value than its own."""
    name, given = config.data.name, config.data[field]
    if source_of(name).renders and given not in (0, fixed):
        raise UserError(f"config field data.{field} is {given}: {name} are of {fixed} {unit}")
