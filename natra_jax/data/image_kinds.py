"""The kinds of files that stand in the place of images, told by their first bytes."""

from __future__ import annotations

HEAD = 512  # bytes that are enough to tell

_BEGINNINGS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"BM", "BMP"),
    (b"8BPS", "a Photoshop document"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\1\0", "an icon"),
    (b"%PDF", "a PDF document"),
    (b"%!PS", "PostScript"),
    (b"PK\3\4", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SIMPLE  =", "a FITS file"),
    (b"RIFF", "RIFF"),
)
_BRANDS = {
    (b"avif", b"avis"): "AVIF",
    (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"): "HEIC",
}
_TEXTS = (
    ("version https://git-lfs", "a pointer of Git LFS, whose image was not fetched"),
    ("<svg", "an SVG drawing"),
    ("<!doctype html", "a web page"),
    ("<html", "a web page"),
)


def name(head: bytes) -> str:
    """Return what a file is that begins so; '' where that is not known."""
    if not head:
        return "empty"
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return "WebP" if kind == "RIFF" and head[8:12] == b"WEBP" else kind
    if head[4:8] == b"ftyp":
        return next((kind for brands, kind in _BRANDS.items() if head[8:12] in brands), "a video")
    text = head.decode("utf-8", "replace").lower()
    for part, kind in _TEXTS:
        if part in text:
            return kind
    return "text" if text.isprintable() or not any(byte < 9 for byte in head) else ""
