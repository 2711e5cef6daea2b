"""Photos with bytes changed, of every kind that is read: decoded, or one line."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from natra_jax.data import decoding
from natra_jax.types import UserError
from tests.mutations import COUNTS, soon

SIDE = 24
NUMBERS = (b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\1\0\0", b"\x80")


def encoded(kind, mode="RGB", **options):
    values = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).convert(mode).save(file, kind, **options)
    return file.getvalue()


def with_orientation(kind):
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a text"
    return encoded(kind, exif=exif)


PHOTOS = {
    "JPEG": lambda: with_orientation("JPEG"),
    "PNG": lambda: encoded("PNG", "RGBA"),
    "PNG, palette": lambda: encoded("PNG", "P", transparency=0),
    "PNG, 16 bits": lambda: encoded("PNG", "I;16"),
    "WebP": lambda: with_orientation("WEBP"),
    "GIF": lambda: encoded("GIF", "P"),
    "BMP": lambda: encoded("BMP"),
    "PPM": lambda: encoded("PPM"),
    "TIFF": lambda: encoded("TIFF"),
    "TIFF, LZW": lambda: encoded("TIFF", compression="tiff_lzw"),
    "TIFF, JPEG": lambda: encoded("TIFF", compression="jpeg"),
    **({"AVIF": lambda: encoded("AVIF")} if "AVIF" in decoding.formats() else {}),
}


def mutated(data, rng):
    """Bytes changed or numbers put in their place, most near the head; some cut, some repeated."""
    found = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        reach = len(found) if rng.random() < 0.4 else min(len(found), 120)
        at = int(rng.integers(reach))
        token = rng.bytes(1) if rng.random() < 0.6 else NUMBERS[rng.integers(len(NUMBERS))]
        found[at : at + len(token)] = token
    if rng.random() < 0.15:
        del found[rng.integers(1, len(found)) :]
    return bytes(found)


def decode_all(kind, count):
    whole, rng, refused = PHOTOS[kind](), np.random.default_rng(0), 0
    for number in range(count):
        data = mutated(whole, rng)
        try:
            with soon(f"{kind}, number {number}"), warnings.catch_warnings(action="ignore"):
                image = decoding.decode(data, decoding.Preprocess(8), "the place")
            assert image.shape == (8, 8, 3) and image.dtype == np.uint8
        except UserError as error:
            refused += 1
            assert str(error).startswith("the place: ") and "\n" not in str(error)
    return refused


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", PHOTOS)
def test_photos_that_are_changed_are_decoded_or_one_line(kind, count):
    assert decode_all(kind, count) > count / 20
