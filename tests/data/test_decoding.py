"""Image files: a second reader, of Pillow's pixels and NumPy, agrees on every format and fit.

Damaged and hostile files are one line.
"""

import contextlib
import io
import itertools
import logging
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, features

from natra_jax import entry
from natra_jax.data.decoding import MOST_PIXELS, Preprocess, check, decode
from natra_jax.types import UserError
from tests.data.photos import encoded, large, pixels

WIDE, TALL = pixels(12, 18), pixels(19, 12)
ALPHA = np.random.default_rng(1).integers(0, 256, WIDE.shape[:2], np.uint8)
DEEP = np.random.default_rng(2).integers(0, 2**16, WIDE.shape[:2], np.uint16)
RGBA = np.dstack([WIDE, ALPHA])


def by_hand(magic, maximum, values):
    """A PGM or PPM file [H, W] or [H, W, 3]."""
    height, width = values.shape[:2]
    return (
        f"{magic}\n# made by hand\n{width} {height}\n{maximum}\n".encode()
        + values.astype(">u2" if maximum > 255 else "u1").tobytes()
    )


FILES = {
    "jpeg": encoded(WIDE, "JPEG"),
    "jpeg, tall": encoded(TALL, "JPEG", quality=70),
    "jpeg, progressive": encoded(WIDE, "JPEG", progressive=True),
    "jpeg, grey": encoded(WIDE[..., 0], "JPEG"),
    "jpeg, CMYK": encoded(Image.fromarray(RGBA, "CMYK"), "JPEG"),
    "png": encoded(WIDE),
    "png, square": encoded(WIDE[:, :12]),
    "png, wider by an odd number": encoded(WIDE[:, :17]),
    "png, of the size asked for": encoded(pixels(8, 8)),
    "png, grey": encoded(WIDE[..., 1]),
    "png, 16 bits": encoded(DEEP),
    "png, black and white": encoded(Image.fromarray(WIDE[..., 0] > 128)),
    "png, grey and alpha": encoded(np.dstack([WIDE[..., 0], ALPHA])),
    "png, alpha": encoded(RGBA),
    "png, palette": encoded(Image.fromarray(WIDE).quantize(16)),
    "png, palette with a transparent entry": encoded(
        Image.fromarray(WIDE).quantize(16), transparency=3
    ),
    "png, palette with alpha": encoded(
        Image.fromarray(WIDE).quantize(4), transparency=bytes([0, 100, 200, 255])
    ),
    "png, a transparent colour": encoded(WIDE, transparency=tuple(int(c) for c in WIDE[5, 5])),
    "png, a transparent grey": encoded(WIDE[..., 0], transparency=int(WIDE[5, 5, 0])),
    "webp": encoded(WIDE, "WEBP"),
    "webp, lossless": encoded(WIDE, "WEBP", lossless=True),
    "webp, alpha": encoded(RGBA, "WEBP", lossless=True, exact=True),
    "pgm": by_hand("P5", 255, WIDE[..., 2]),
    "pgm, 16 bits": by_hand("P5", 65535, DEEP),
    "pgm, numbers up to 100": by_hand("P5", 100, WIDE[..., 2] % 101),
    "ppm": by_hand("P6", 255, WIDE),
    "bmp": encoded(WIDE, "BMP"),
    "bmp, grey": encoded(WIDE[..., 0], "BMP"),
    "bmp, palette": encoded(Image.fromarray(WIDE).quantize(16), "BMP"),
    "gif": encoded(Image.fromarray(WIDE).quantize(16), "GIF"),
    "gif, moving": encoded(
        Image.fromarray(WIDE).quantize(16),
        "GIF",
        save_all=True,
        append_images=[Image.fromarray(WIDE[::-1]).quantize(16)],
    ),
    "gif, transparent": encoded(Image.fromarray(WIDE).quantize(16), "GIF", transparency=3),
    "tiff": encoded(WIDE, "TIFF"),
    "tiff, LZW": encoded(WIDE, "TIFF", compression="tiff_lzw"),
    "tiff, several": encoded(
        WIDE, "TIFF", save_all=True, append_images=[Image.fromarray(WIDE[::-1])]
    ),
    "tiff, 16 bits": encoded(DEEP, "TIFF"),
    "tiff, grey": encoded(WIDE[..., 0], "TIFF"),
    "tiff, black and white": encoded(Image.fromarray(WIDE[..., 0] > 128), "TIFF"),
    "tiff, alpha": encoded(RGBA, "TIFF"),
}


def over_white(colour, alpha):
    return np.rint(
        (colour.astype(int) * alpha[..., None] + 255 * (255 - alpha[..., None].astype(int))) / 255
    ).astype(np.uint8)


def second_rgb(file):
    """[H, W, 3] uint8 with what Pillow has of the file as it is, and NumPy."""
    image = Image.open(io.BytesIO(file))
    raw, info = np.array(image), image.info
    if image.mode == "CMYK":
        ink, light = raw[..., :3].astype(int), 255 - raw[..., 3:].astype(int)
        return (light - np.rint(ink * light / 255).astype(int)).clip(0).astype(np.uint8)
    if image.mode == "P":
        palette = np.array(image.getpalette()).reshape(-1, 3).astype(np.uint8)
        alpha = np.full(len(palette), 255)
        if isinstance(info.get("transparency"), bytes):
            alpha[: len(info["transparency"])] = list(info["transparency"])
        elif "transparency" in info:
            alpha[info["transparency"]] = 0
        return over_white(palette[raw], alpha[raw])
    if raw.dtype == bool:
        return np.repeat(255 * raw[..., None].astype(np.uint8), 3, axis=2)
    if raw.dtype != np.uint8:
        return np.repeat((raw[..., None] // 256).astype(np.uint8), 3, axis=2)
    if raw.ndim == 2:
        raw = raw[..., None]
    if raw.shape[2] in (2, 4):
        return over_white(
            np.repeat(raw[..., :1], 3, axis=2) if raw.shape[2] == 2 else raw[..., :3], raw[..., -1]
        )
    if "transparency" in info:
        gone = (raw == np.array(info["transparency"])).all(axis=2)
        raw = np.where(gone[..., None], 255, raw)
    return np.broadcast_to(raw, (*raw.shape[:2], 3)).astype(np.uint8)


def second_fit(rgb, side, fit):
    height, width, _ = rgb.shape

    def scaled(array, new_width, new_height):
        return np.array(
            Image.fromarray(np.ascontiguousarray(array)).resize(
                (new_width, new_height), Image.Resampling.LANCZOS
            )
        )

    if fit == "stretch":
        return scaled(rgb, side, side)
    if fit == "crop":
        cut = abs(width - height) // 2
        return scaled(
            rgb[:, cut : cut + height] if width > height else rgb[cut : cut + width], side, side
        )
    black = np.zeros((side, side, 3), np.uint8)
    short = max(1, round(side * min(width, height) / max(width, height)))
    edge = (side - short) // 2
    if width > height:
        black[edge : edge + short] = scaled(rgb, side, short)
    else:
        black[:, edge : edge + short] = scaled(rgb, short, side)
    return black


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("kind", FILES)
def test_a_second_reader_sees_the_same_pixels(kind, fit):
    image = decode(FILES[kind], Preprocess(8, fit))
    assert image.shape == (8, 8, 3) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, second_fit(second_rgb(FILES[kind]), 8, fit))


def test_pixels_written_by_hand_are_read_as_they_are():
    square = WIDE[:12, :12]
    np.testing.assert_array_equal(decode(by_hand("P6", 255, square), Preprocess(12)), square)
    shades = np.arange(144).reshape(12, 12) * 455
    np.testing.assert_array_equal(
        decode(by_hand("P5", 65535, shades), Preprocess(12))[..., 0], shades // 256
    )
    np.testing.assert_array_equal(
        decode(by_hand("P5", 1, shades // 455 % 2), Preprocess(12))[..., 1],
        255 * (shades // 455 % 2),
    )


def test_the_three_fits_keep_what_they_promise():
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, :10], stripes[:, 10:20], stripes[:, 20:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    file = encoded(stripes)
    assert (decode(file, Preprocess(10, "crop")) == (0, 255, 0)).all()
    padded = decode(file, Preprocess(30, "pad"))
    np.testing.assert_array_equal(padded[10:20], stripes)
    assert not padded[:10].any() and not padded[20:].any()
    stretched = decode(file, Preprocess(30, "stretch"))
    np.testing.assert_array_equal(
        stretched[:, [5, 15, 25]], np.broadcast_to(stripes[0, [5, 15, 25]], (30, 3, 3))
    )


@pytest.mark.parametrize("shape", [(1, 400), (400, 1), (1, 1), (2, 3)])
def test_the_narrowest_images_fit_too(shape):
    for fit in ("crop", "pad", "stretch"):
        assert decode(encoded(np.full((*shape, 3), 200, np.uint8)), Preprocess(8, fit)).max() == 200


# By EXIF's own words: the sides on which the stored rows and columns begin.
BEGIN = {
    1: "top left",
    2: "top right",
    3: "bottom right",
    4: "bottom left",
    5: "left top",
    6: "right top",
    7: "right bottom",
    8: "left bottom",
}


def turned(stored, orientation):
    rows, columns = BEGIN[orientation].split()
    if rows in ("left", "right"):
        stored, rows, columns = stored.transpose(1, 0, 2), columns, rows
    stored = stored[::-1] if rows == "bottom" else stored
    return stored[:, ::-1] if columns == "right" else stored


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


@pytest.mark.parametrize("orientation", BEGIN)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_images_are_turned_as_their_exif_data_say(format, orientation):
    plain, marked = encoded(WIDE, format), encoded(WIDE, format, exif=exif(orientation))
    stored = np.array(Image.open(io.BytesIO(plain)).convert("RGB"))
    expected = turned(stored, orientation)
    for fit in ("crop", "pad", "stretch"):
        np.testing.assert_array_equal(
            decode(marked, Preprocess(8, fit)), second_fit(expected, 8, fit)
        )


@pytest.mark.parametrize(
    "tags",
    [
        exif(0),
        exif(9),
        exif(6)[:20],
        b"Exif\0\0" + 40 * b"\xff",
        b"Exif\0\0II*\0" + struct.pack("<IH", 8, 60000),
    ],
    ids=["0", "9", "cut off", "no TIFF", "counts too far"],
)
@pytest.mark.filterwarnings("ignore")
def test_exif_data_that_make_no_sense_turn_nothing(tags):
    np.testing.assert_array_equal(
        decode(encoded(WIDE, "JPEG", exif=tags), Preprocess(8)),
        decode(encoded(WIDE, "JPEG"), Preprocess(8)),
    )


def test_of_a_moving_image_the_first_is_read():
    frames = [Image.fromarray(pixels(seed=seed)) for seed in range(3)]
    for format, options in (("WEBP", {"lossless": True}), ("PNG", {})):
        moving = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(
            decode(moving, Preprocess(8)), decode(encoded(frames[0]), Preprocess(8))
        )


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(large(10_000, 10_000))
    for attempt in (lambda: check(path), lambda: decode(path, Preprocess(8))):
        with (
            pytest.raises(UserError, match=f"^{path}: has more than 89,478,485 pixels: "),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            attempt()
    bomb = encoded(pixels()).replace(
        struct.pack(">II", 18, 12), struct.pack(">II", 2**31 - 1, 2**31 - 1)
    )
    bomb = bomb[:29] + struct.pack(">I", zlib.crc32(bomb[12:29])) + bomb[33:]
    with pytest.raises(UserError, match="^it: has more than 89,478,485 pixels: "):
        decode(bomb, Preprocess(8), "it")
    assert MOST_PIXELS == 89_478_485


def test_the_largest_that_are_read_are_read():
    assert check(large(9_459, 9_459)) == (9_459, 9_459)


@pytest.mark.parametrize(
    "content,said",
    [
        (b"", "is no image that can be read: it is empty: bring its content back"),
        (b"a letter, not a photo\n" * 10, "is no image that can be read: "),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no image that can be read: "),
        (encoded(pixels(64, 64), "JPEG")[:-200], r"is damaged \(.*truncated.*\): "),
        (FILES["png"][:-60], r"is damaged \(.*\): "),
        (by_hand("P6", 255, WIDE)[:-9], r"is damaged \(.*\): "),
        (
            b"Pf\n2 2\n-1.0\n" + 16 * b"\0",
            r"cannot be used \(its pixels are floating-point numbers\): convert it",
        ),
    ],
    ids=[
        "0 bytes",
        "text",
        "PostScript",
        "truncated JPEG",
        "truncated PNG",
        "truncated PPM",
        "floats",
    ],
)
def test_what_is_no_image_or_damaged_is_one_line_that_begins_with_the_path(tmp_path, content, said):
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}: {said}") as error:
        decode(path, Preprocess(8))
    assert "\n" not in str(error.value)


def test_files_that_are_gone_or_may_not_be_read_are_said_so(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=f"^{tmp_path}/none.png: is not there"):
        decode(tmp_path / "none.png", Preprocess(8))

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "photo.png").touch()
    monkeypatch.setattr(Image, "open", refused)
    with pytest.raises(
        UserError,
        match=(
            f"^{tmp_path}/photo.png: may not be read .Permission denied.: change its permissions$"
        ),
    ):
        check(tmp_path / "photo.png")


@pytest.mark.parametrize(
    "content, kind",
    [
        (b"<!DOCTYPE html>\n<html><body>404", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a pointer of Git LFS"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\xff\x0a" + 60 * b"\0", "JPEG XL"),
        (b"8BPS" + 60 * b"\0", "a Photoshop document"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"PK\3\4" + 60 * b"\0", "a zip archive"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (b"a letter, not a photo\n" * 10, "text"),
        (b"\x89PNG\r\n\x1a\n" + 60 * b"\0", "begins as PNG"),
        (b"II*\0" + 60 * b"\0", "begins as TIFF"),
    ],
)
def test_what_stands_in_the_place_of_an_image_is_said_and_not_called_damaged(content, kind):
    with pytest.raises(UserError, match=f"^x.jpg: is no image that can be read: it .*{kind}") as e:
        decode(content, Preprocess(8), "x.jpg")
    assert str(e.value).endswith(": put a PNG or JPEG in its place, or move it away")
    assert not any(word in str(e.value) for word in ("damaged", "repair", "remove"))


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "AVIF", "WEBP", "PNG", "BMP"])
def test_the_content_decides_what_an_image_is_and_not_its_name(tmp_path, kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = tmp_path / "cat.jpg"
    path.write_bytes(encoded(Image.new("RGB", (20, 20), (200, 30, 30)), kind))
    image = decode(path, Preprocess(16))
    assert np.abs(image.astype(int) - (200, 30, 30)).max() < 8


def test_a_tiff_is_turned_once():
    turned = encoded(
        Image.fromarray(WIDE).transpose(Image.Transpose.ROTATE_90), "TIFF", exif=exif(6)
    )
    np.testing.assert_array_equal(
        decode(turned, Preprocess(8)), decode(encoded(WIDE, "TIFF"), Preprocess(8))
    )


@pytest.mark.parametrize(
    "image, reason",
    [
        (Image.fromarray(np.zeros((9, 9), np.float32)), "floating-point"),
        (Image.fromarray(np.full((9, 9), 70_000, np.int32)), "not of 8 or 16 bits"),
        (Image.new("LAB", (9, 9)), r"L\*a\*b\*"),
    ],
    ids=["float", "32 bits", "LAB"],
)
def test_sound_images_of_other_numbers_are_to_be_converted_and_not_repaired(image, reason):
    for ask in (check, lambda data, location: decode(data, Preprocess(8), location)):
        with pytest.raises(UserError, match=rf"^x.tif: cannot be used \(its .*{reason}.*\): conv"):
            ask(encoded(image, "TIFF"), "x.tif")


def test_an_image_of_one_column_costs_no_more_than_others():
    with pytest.raises(UserError, match="^it: has a side of more than 1,000,000 pixels: scale it"):
        check(large(1, 2_000_000), "it")
    assert check(large(1, 1_000_000)) == (1, 1_000_000)


def test_folders_and_pipes_are_no_images_and_nothing_waits_for_them(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for place, said in ((tmp_path, "is a folder"), (tmp_path / "pipe.png", "is a pipe")):
        with pytest.raises(UserError, match=f"^{place}: {said}.*: name "):
            decode(place, Preprocess(8))


def test_lack_of_memory_is_not_taken_for_damage(monkeypatch):
    def short(*_):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", short)
    with pytest.raises(UserError, match="^x.png: takes more memory than there is: "):
        decode(FILES["png, alpha"], Preprocess(8), "x.png")


@pytest.mark.filterwarnings("ignore")
def test_whatever_is_wrong_with_a_file_it_is_an_image_or_one_line():
    rng = np.random.default_rng(0)
    refused = 0
    for file, _ in itertools.product(
        [*FILES.values(), encoded(WIDE, "JPEG", exif=exif(6))], range(25)
    ):
        broken = bytearray(file)
        for place in rng.integers(0, len(broken) if rng.random() < 0.5 else 60, rng.integers(1, 6)):
            broken[place % len(broken)] = rng.integers(0, 256)
        if rng.random() < 0.3:
            del broken[rng.integers(0, len(broken)) :]
        try:
            assert decode(bytes(broken), Preprocess(8), "photo").shape == (8, 8, 3)
        except UserError as error:
            refused += 1
            assert str(error).startswith("photo: ") and "\n" not in str(error)
    assert refused > 100


TIFF = struct.Struct("<2sHIH")
SAMPLES = (256, 4, 1, 9, 257, 4, 1, 9, 262, 3, 1, 2, 277, 3, 1, 30)  # 30 a pixel
TALKING = {
    "EXIF cut off": encoded(WIDE, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0\x0e"),
    "EXIF outside": encoded(WIDE, "JPEG", exif=b"Exif\0\0" + TIFF.pack(b"II", 42, 8, 2)
                            + struct.pack("<HHIIHHII", 270, 2, 9999, 9999, 274, 3, 1, 6)),
    "a tag outside": TIFF.pack(b"II", 42, 8, 1) + struct.pack("<HHII", 270, 2, 9999, 9999),
    "samples": TIFF.pack(b"II", 42, 8, 4) + struct.pack("<" + 4 * "HHII", *SAMPLES) + bytes(4),
}  # fmt: skip


@pytest.mark.parametrize("name", TALKING)
def test_what_pillow_says_of_damaged_files_is_not_printed(name, caplog):
    def said():
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            if quiet:
                entry.quiet_pillow()
            with contextlib.suppress(UserError):
                decode(TALKING[name], Preprocess(8))
        found = [*map(str, warned), *caplog.messages]
        caplog.clear()
        return found

    level = logging.getLogger("PIL").level
    quiet = False
    assert said()
    quiet = True
    try:
        assert said() == []
    finally:
        logging.getLogger("PIL").setLevel(level)
