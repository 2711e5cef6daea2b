"""Config fields that are left to the data, filled in: resolutions, and layers once the generator is known."""

from __future__ import annotations

from etils import epath
from ml_collections import ConfigDict

from natra_jax.config import check_names
from natra_jax.data import ARRAYS, PREFIX, Source, digits, folder, prepared
from natra_jax.types import UserError
from natra_jax.weights.generator_config import describe, has_generator, is_file

_SUITS = (
    (2_000, 32),
    (20_000, 64),
)  # images that a generator of so many pixels can be trained on; more of them allow for 128
_SMALLEST, _LARGEST = 8, 128
_NARROWEST, _WIDEST = 32, 512  # channels of the encoder's first convolution, and at most


def settle(config: ConfigDict, source: Source | None = None) -> ConfigDict:
    """A copy in which what is left to the data has the value that it comes to: data.resolution, data.channels, generator.resolution,
    generator.channels_out, directions.layers, advmix.layers and encoder.widths.

    source: data handed over in Python. Raises UserError for a wrong name or type in config, and for a folder or data set that is missing.
    """
    check_names(config)
    _require_there(config)
    settled = ConfigDict(config.to_dict())
    settled.data.resolution = _resolution(settled, source)
    settled.data.channels = _channels(settled, source)
    if not has_generator(settled.generator):
        return settled
    if not is_file(settled.generator) and not settled.generator.resolution:
        settled.generator.resolution = settled.data.resolution
    settled.generator.channels_out = settled.generator.channels_out or settled.data.channels
    sections = (settled.directions, settled.advmix)
    if any(section.layers[1:] in ((), (0,)) for section in sections) or not settled.encoder.widths:
        generator = describe(settled.generator)
        for section in sections:
            section.layers = _to_the_last(section.layers, generator.num_layers)
        settled.encoder.widths = settled.encoder.widths or _widths(generator.resolution)
    return settled


def _to_the_last(layers: tuple, num_layers: int) -> tuple:
    """() for all of them, (first, 0) for all from first on."""
    first, *stop = layers or (0, 0)
    return (first, num_layers) if stop == [0] else layers


def _widths(resolution: int) -> tuple[int, ...]:
    """Of an encoder whose dense layer sees 4x4 pixels."""
    return tuple(
        min(_NARROWEST * 2**i, _WIDEST) for i in range(max(1, resolution.bit_length() - 2))
    )


def _require_there(config: ConfigDict) -> None:
    """Where the experiment says from whom something is had, raises UserError with that if it is not there."""
    prepared_set = (
        config.data.name.removeprefix(PREFIX) if config.data.name.startswith(PREFIX) else ""
    )
    named = {
        "data": ("data.path", config.data.path, prepared_set),
        "weights": (
            "generator.weights",
            config.generator.weights if is_file(config.generator) else "",
            "",
        ),
        "classifier": (
            "train.init_from",
            "" if config.train.init_from in config.methods else config.train.init_from,
            "",
        ),
    }
    if config.data.name in ("digits", ARRAYS):  # which are read from no path
        del named["data"]
    for what, (field, path, below) in named.items():
        missing = not (epath.Path(path).expanduser() / below).exists() if path else what == "data"
        if missing and (advice := config.obtain[what]):
            raise UserError(f"config field {field} is {path!r}: not there: {advice}")


def _resolution(config: ConfigDict, source: Source | None) -> int:
    if config.data.name == "digits":
        if config.data.resolution not in (0, digits.RESOLUTION):
            raise UserError(
                f"config field data.resolution is {config.data.resolution}: digits are of {digits.RESOLUTION} pixels"
            )
        return digits.RESOLUTION
    if config.data.name == ARRAYS and source is not None:
        return source.splits["train"].image.shape[1]
    if config.data.resolution:
        return config.data.resolution
    if is_file(config.generator):
        return describe(config.generator).resolution
    return config.generator.resolution or _suitable(config.data)


def _suitable(c: ConfigDict) -> int:
    """What so many images can train a generator of, but not beyond the next power of two to their own size."""
    suits = next((pixels for most, pixels in _SUITS if _count(c) < most), _LARGEST)
    side = (
        prepared.side(c.path, c.name.removeprefix(PREFIX))
        if c.name.startswith(PREFIX)
        else folder.side(c.path)
    )
    return max(_SMALLEST, min(suits, 1 << (side - 1).bit_length()))


def _channels(config: ConfigDict, source: Source | None) -> int:
    c = config.data
    if c.name == ARRAYS and source is not None:
        return source.splits["train"].image.shape[3]
    if c.channels:
        return c.channels
    if c.name == "digits" or (has_generator(config.generator) and config.generator.weights):
        return 3
    return (
        1
        if (
            prepared.is_grey(c.path, c.name.removeprefix(PREFIX))
            if c.name.startswith(PREFIX)
            else folder.is_grey(c.path)
        )
        else 3
    )


def _count(c: ConfigDict) -> int:
    """Images of the data set and beside it, by their files' names alone."""
    if c.name.startswith(PREFIX):
        return prepared.count(c.path, c.name.removeprefix(PREFIX))
    return len(folder.listed(c.path)) + (
        len(folder.listed(c.unlabelled, "data.unlabelled")) if c.unlabelled else 0
    )
