"""Image files of every kind that is read, written for tests."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(height=12, width=18, seed=0):
    """A smooth colour image [height, width, 3] uint8 with a little noise."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (3, 4, 3), np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return (smooth + rng.integers(-8, 9, smooth.shape)).clip(0, 255).astype(np.uint8)


def encoded(image, format="PNG", **options):
    """Bytes of the file."""
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, format, **options)
    return file.getvalue()


def write(path, image=None, **options):
    """Writes an image at path, in the format of its suffix; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    formats = {
        ".jpg": "JPEG",
        ".jpeg": "JPEG",
        ".png": "PNG",
        ".webp": "WEBP",
        ".pgm": "PPM",
        ".ppm": "PPM",
        ".bmp": "BMP",
        ".pbm": "PPM",
        ".pnm": "PPM",
        ".jfif": "JPEG",
        ".gif": "GIF",
        ".tif": "TIFF",
        ".tiff": "TIFF",
        ".avif": "AVIF",
    }
    path.write_bytes(
        encoded(pixels() if image is None else image, formats[path.suffix.lower()], **options)
    )
    return path


def grey(value, height=4, width=4):
    """One shade: an image that can be told from others after it was scaled."""
    return np.full((height, width, 3), value, np.uint8)


def classes(root, counts, first=0):
    """Write folders of grey images, one a class: {class: number}.

    The shades rise by one from image to image, from `first` on.
    """
    shade = first
    for name, count in counts.items():
        Path(root, name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            write(Path(root, name, f"{i:03d}.png"), grey(shade % 256))
            shade += 1
    return Path(root)


def large(width, height):
    """A black PNG of one bit a pixel: few bytes for many pixels."""
    return encoded(Image.new("1", (width, height)))
