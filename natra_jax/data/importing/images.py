"""Images that nobody vouches for: decoded once, within bounds, to see that they can be."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np

from natra_jax import shortage
from natra_jax.data import decoding, image_kinds
from natra_jax.printable import reason

MOST_BYTES = 2**28  # of one file or member of an archive


class Corrupt(Exception):
    """An image that cannot be used, and why."""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Refuse, in all calls of `checked`, what Pillow warns of as too large.

    It is to be entered in the thread that starts the others.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def checked(data: bytes) -> bytes:
    """Return an image as it is stored. Raise Corrupt unless it decodes.

    That is as it came, but GIF, TIFF and AVIF as PNG, which every reader of data sets knows.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=decoding.formats()) as image:
            _require_size(*image.size)
            if why := decoding.not_read(image):
                raise Corrupt(why)
            image.load()
            if image.format in (*decoding.COMMON, "MPO"):
                return data
            return png(decoding.pixels(image))
    except Corrupt:
        raise
    except MemoryError as error:
        raise Corrupt("it takes more memory than there is") from error
    except Image.UnidentifiedImageError as error:  # its text has the address of the bytes
        kind = image_kinds.name(data[: image_kinds.HEAD])
        raise Corrupt("no image that can be read" + (f" ({kind})" if kind else "")) from error
    except Exception as error:  # Pillow's decoders raise many types for what they cannot read
        shortage.require_none(error, "an image")
        raise Corrupt(reason(error)) from error


def png(pixels: np.ndarray) -> bytes:
    """Encode [H, W, 3], [H, W, 1] or [H, W] uint8 as PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).save(file, "PNG")
    return file.getvalue()


def from_npy(data: bytes) -> np.ndarray:
    """Read [H, W, 3] uint8 of the bytes of a .npy file.

    It must hold uint8 [1, 3, H, W], [3, H, W] or [H, W, 3]. Raise Corrupt for any other.
    """
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, fortran, dtype = read(file)
    except Exception as error:  # NumPy parses the head as Python, which may fail in any way
        raise Corrupt(f"no .npy file ({reason(error, 100)})") from error
    flat = shape[1:] if len(shape) == 4 and shape[0] == 1 else shape
    if (
        dtype != np.uint8
        or fortran
        or len(flat) != 3
        or 3 not in (flat[0], flat[2])
        or min(flat) < 1
    ):
        raise Corrupt(
            f"an array {shape} of {dtype}, not uint8 [1, 3, H, W], [3, H, W] or [H, W, 3]"
        )
    height, width = flat[1:] if flat[0] == 3 else flat[:2]
    _require_size(width, height)
    rest = data[file.tell() :]
    if len(rest) != 3 * height * width:
        raise Corrupt(f"{len(rest)} bytes of pixels where {3 * height * width} belong")
    pixels = np.frombuffer(rest, np.uint8).reshape(flat)
    return pixels.transpose(1, 2, 0) if flat[0] == 3 else pixels


def _require_size(width: int, height: int) -> None:
    """Raise Corrupt for more pixels than are decoded."""
    if why := decoding.too_large(width, height):
        raise Corrupt(f"{width}x{height} pixels (width x height): it {why}")
