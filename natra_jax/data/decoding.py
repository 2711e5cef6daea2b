"""Image files of any common kind and size, decoded to [resolution, resolution, channels] uint8.

Of a damaged TIFF, libtiff prints lines of its own on stderr, which Pillow cannot turn off.
"""

from __future__ import annotations

import functools
import io
import struct
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from natra_jax import files, shortage
from natra_jax.data import image_kinds
from natra_jax.json_files import Size
from natra_jax.printable import reason
from natra_jax.types import UserError

if TYPE_CHECKING:
    from PIL import Image

FITS = ("crop", "pad", "stretch")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".webp", ".pgm", ".ppm", ".pbm", ".pnm", ".bmp"),
    *(".gif", ".tif", ".tiff", ".avif"),
)
MOST_PIXELS = 89_478_485  # Pillow's own bound: what is larger is refused before it is decoded
MOST_ON_A_SIDE = 1_000_000  # Pillow keeps a pointer for every row
COMMON = ("JPEG", "PNG", "WEBP", "PPM", "BMP")  # that other readers of data sets know too
_READ = "JPEG, PNG, WebP, PGM, PPM, BMP, GIF, TIFF and AVIF"
_CONVERT = "convert it to PNG or JPEG, or move it away"
_NOT_SUPPORTED = ("unsupported", "not supported", "not available", "unknown")
_WHITE = (255, 255, 255, 255)
_ORIENTATION = 0x0112  # the EXIF tag
_EXIF_ERRORS = (  # that Pillow raises for damaged EXIF data
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    OSError,
    OverflowError,
    IndexError,
    struct.error,
)


class Preprocess(NamedTuple):
    """The size and the colours that every image of a data set is brought to."""

    resolution: Size  # pixels, H = W
    # crop: the middle square | pad: a square around it, black outside | stretch: both sides scaled
    fit: str = "crop"
    channels: int = 3  # 3: RGB | 1: grey


def decode(encoded: bytes | Path | str, preprocess: Preprocess, location: str = "") -> np.ndarray:
    """Decode the image in a file, or in its content, turned as its EXIF data say.

    For RGB, grey becomes three equal channels; for grey, colour becomes its luma (ITU-R 601-2).
    16 bits become the higher 8, what is transparent shows white, and of several images the first
    one is taken. It is scaled with Pillow's Lanczos filter. EXIF data that cannot be read turn
    nothing.

    Args:
        encoded: the path of the file, or its content.
        preprocess: the size and the colours to bring the image to.
        location: the file as error messages name it; by default its path.

    Returns:
        [resolution, resolution, channels] uint8.

    Raises:
        UserError: it is no image of a kind that is read, damaged, or has more than MOST_PIXELS.
            The message begins with the location.
    """
    image = _read(encoded, location or str(encoded), whole=True)
    if preprocess.channels == 1:
        return np.asarray(_fitted(image.convert("L"), preprocess))[..., None]
    return np.asarray(_fitted(image, preprocess))


def check(encoded: bytes | Path | str, location: str = "") -> tuple[int, int]:
    """Return (width, height) as the file's head has them, before any turning.

    Raise UserError as `decode` does for what the head tells.
    """
    return _read(encoded, location or str(encoded), whole=False).size


def size(encoded: bytes | Path | str, location: str = "") -> tuple[int, int]:
    """Return (width, height) once the image is turned as its EXIF data say.

    Raise UserError as `decode` does.
    """
    return _read(encoded, location or str(encoded), whole=True).size


def is_grey(encoded: bytes | Path | str, location: str = "") -> bool:
    """Return whether the file's head says that it has no colour.

    Raise UserError as `check` does.
    """
    mode = _read(encoded, location or str(encoded), whole=False).mode
    return mode.startswith(("1", "L", "I"))


@functools.cache
def formats() -> tuple[str, ...]:
    """Return Pillow's names of the formats that are tried, whatever a file's name is.

    There are no others: fewer readers for strangers' bytes. AVIF is read where Pillow can.
    """
    from PIL import features

    return (*COMMON, "GIF", "TIFF", *(("AVIF",) if features.check("avif") else ()))


def too_large(width: int, height: int) -> str:
    """Return why so many pixels are not decoded; '' if they are."""
    if width * height > MOST_PIXELS:
        return f"has more than {MOST_PIXELS:,} pixels"
    if max(width, height) > MOST_ON_A_SIDE:
        return f"has a side of more than {MOST_ON_A_SIDE:,} pixels"
    return ""


def not_read(image: Image.Image) -> str:
    """Return why the pixels of a sound image are not read; '' if they are."""
    if image.mode == "F":
        return "its pixels are floating-point numbers"
    if image.mode == "LAB":
        return "its colours are L*a*b*"
    tags = getattr(image, "tag_v2", {})  # a TIFF's
    if image.format == "TIFF" and image.mode.startswith("I"):
        bits, kind, interpretation = (tags.get(tag) for tag in (258, 339, 262))
        if bits != (16,) or kind not in (None, (1,), 1) or interpretation != 1:
            return "its pixels are whole numbers, but not of 8 or 16 bits with black at 0"
    return ""


def _read(encoded: bytes | Path | str, location: str, *, whole: bool) -> Image.Image:
    """Open an image, and if wanted whole decode it, upright and in RGB."""
    from PIL import Image

    try:
        # an open file: by its name Pillow would map it, and a file cut off then ends the process
        with _opened(encoded, location) as file, Image.open(file, formats=formats()) as image:
            if large := too_large(*image.size):
                raise UserError(f"{location}: {large}: scale it down, or move it away")
            if not image.width * image.height:
                raise ValueError("it has no pixels")
            if why := not_read(image):
                raise UserError(f"{location}: cannot be used ({why}): {_CONVERT}")
            if whole:
                image.load()
                return _rgb(_upright(image))
            return image
    except UserError:
        raise
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{location}: is {unidentified(encoded)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(
            f"{location}: has more than {MOST_PIXELS:,} pixels: scale it down, or move it away"
        ) from error
    except FileNotFoundError as error:
        raise UserError(
            f"{location}: is not there, or a link to nothing: bring it back, or remove the link"
        ) from error
    except PermissionError as error:
        raise UserError(
            f"{location}: may not be read ({error.strerror}): change its permissions"
        ) from error
    except MemoryError as error:
        raise UserError(
            f"{location}: takes more memory than there is: scale it down, or free some memory"
        ) from error
    except Exception as error:  # Pillow's readers raise of all kinds for damaged files
        if isinstance(error, OSError) and error.errno is not None:  # the disk's, not Pillow's
            raise UserError(
                f"{location}: cannot be read ({error.strerror}): "
                + files.remedy(error, "check what it is and its disk")
            ) from error
        shortage.require_none(error, location)
        why = reason(error)
        if any(word in why.lower() for word in _NOT_SUPPORTED):
            raise UserError(f"{location}: cannot be decoded ({why}): {_CONVERT}") from error
        raise UserError(f"{location}: is damaged ({why}): repair or remove it") from error


def unidentified(encoded: bytes | Path | str) -> str:
    """Say what a file is that no reader knows, and what to do about it."""
    if isinstance(encoded, bytes):
        kind = image_kinds.name(encoded[: image_kinds.HEAD])
    else:
        with files.open_file(encoded) as file:
            kind = image_kinds.name(file.read(image_kinds.HEAD))
    if kind == "empty":
        return "no image that can be read: it is empty: bring its content back, or move it away"
    what = f"it is {kind}" if kind else f"it is none of {_READ}"
    if kind and kind in _READ:
        what = f"it begins as {kind}, and Pillow does not know the rest"
    return f"no image that can be read: {what}: put a PNG or JPEG in its place, or move it away"


def _opened(encoded: bytes | Path | str, location: str) -> IO[bytes]:
    if isinstance(encoded, bytes):
        return io.BytesIO(encoded)
    return files.open_file(encoded, location)


def pixels(image: Image.Image) -> np.ndarray:
    """Return an open image as [H, W, 3] uint8, turned as its EXIF data say."""
    return np.asarray(_rgb(_upright(image)))


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF data say, if they can be read."""
    from PIL import Image

    turns = Image.Transpose
    by_orientation = {
        2: turns.FLIP_LEFT_RIGHT,
        3: turns.ROTATE_180,
        4: turns.FLIP_TOP_BOTTOM,
        5: turns.TRANSPOSE,
        6: turns.ROTATE_270,
        7: turns.TRANSVERSE,
        8: turns.ROTATE_90,
    }
    try:
        turn = by_orientation.get(image.getexif().get(_ORIENTATION, 1))
    except _EXIF_ERRORS:
        turn = None
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB: 16 bits to the higher 8, transparent pixels to white."""
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image)
        grey = np.right_shift(values, 8, dtype=values.dtype).clip(0, 255).astype(np.uint8)
        grey[values == image.info.get("transparency", -1)] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image).convert("RGB")
    return image.convert("RGB")


def _fitted(image: Image.Image, preprocess: Preprocess) -> Image.Image:
    """Bring an image to the resolution, cropped, padded or stretched to a square."""
    from PIL import Image

    side, (width, height) = preprocess.resolution, image.size
    if width != height and preprocess.fit == "crop":
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        image = image.crop((left, top, left + short, top + short))
    if width != height and preprocess.fit == "pad":
        inner_width, inner_height = (
            max(1, round(side * length / max(width, height))) for length in image.size
        )
        ground = Image.new(image.mode, (side, side))
        ground.paste(
            image.resize((inner_width, inner_height), Image.Resampling.LANCZOS),
            ((side - inner_width) // 2, (side - inner_height) // 2),
        )
        return ground
    return (
        image
        if image.size == (side, side)
        else image.resize((side, side), Image.Resampling.LANCZOS)
    )
