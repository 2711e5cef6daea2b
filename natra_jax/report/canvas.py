"""Drawing that all figures share: colours, text, and sheets of images placed to the pixel.

    png = sheet([TextRow("", ["-2σ", "0", "+2σ"]), ImageRow("hue", images)])  # images [3, H, W, C]

Matplotlib draws text and lines through its object interface only, so nothing global changes and
threads do not meet. Figures are made at twice the size they are shown at, to be sharp on dense
screens; every length below is in pixels of the file.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from natra_jax.data import to_uint8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, RULE = "#1f2933", "#667382", "#d9dee4"
# Okabe and Ito's colours, told apart with any colour vision; the pale ones are left out.
BLUE, VERMILLION, GREEN = "#0072b2", "#d55e00", "#009e73"
ORANGE, PURPLE, SKY = "#e69f00", "#cc79a7", "#56b4e9"
FONT = "DejaVu Sans"  # comes with matplotlib
DPI = 200
SMALL, NORMAL = 8.0, 8.8  # points: 11 and 12 pixels where the page shows them
SHARPNESS = 2  # pixels of the file to a pixel of the page

_IMAGE = 128  # small images are enlarged to about this size
_LARGEST = 256  # larger images are shrunk to this
_LABEL, _WORD = 36, 16  # characters of a row's label and of a text under an image before a cut
_GAP, _LINE, _MARGIN, _MARK = 8, 34, 4, 8


class ImageRow(NamedTuple):
    """A row of images of a sheet."""

    label: str
    images: np.ndarray  # [N, H, W, C] in [-1, 1], C 1 or 3
    marked: np.ndarray | None = None  # [N] bool: a bar under these images


class TextRow(NamedTuple):
    """A row of texts of a sheet, one in each column."""

    label: str
    texts: Sequence[str]
    colours: Sequence[str] | None = None


class Space(NamedTuple):
    """Empty space between rows of a sheet."""

    height: int


def pixels(images: np.ndarray) -> np.ndarray:
    """Turn images [N, H, W, C] in [-1, 1], C 1 or 3, into pixels [N, H', W', 3] uint8.

    Values outside are clipped, what is not finite becomes magenta. Small images are enlarged by a
    whole factor, each pixel a square; large ones are shrunk. Images of another shape raise
    ValueError.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(
            f"images of shape {images.shape}; expected [N, H, W, C] with N at least 1 and C 1 or 3"
        )
    finite = np.isfinite(images)
    shown = to_uint8(np.where(finite, images, 0.0))
    shown = np.where(finite.all(-1, keepdims=True), shown, np.array([255, 0, 255], np.uint8))
    longest = max(images.shape[1:3])
    if longest > _LARGEST:
        return _shrunk(shown, _LARGEST / longest)
    factor = max(1, _IMAGE // longest)
    return shown.repeat(factor, axis=1).repeat(factor, axis=2)


def sheet(rows: Sequence[ImageRow | TextRow | Space]) -> bytes:
    """Draw rows under each other, their labels on the left, as a PNG.

    The columns are as wide as the widest image or text.
    """
    drawn = [_prepared(row) for row in rows]
    filled = [row for row in drawn if not isinstance(row, Space)]
    left = math.ceil(max(width(row.label) for row in filled))
    left = _MARGIN + (left and left + 2 * _GAP)
    widths = (
        row.images.shape[2] if isinstance(row, ImageRow) else _widest(row.texts) for row in filled
    )
    step = math.ceil(max(widths)) + _GAP
    count = max(len(row.images if isinstance(row, ImageRow) else row.texts) for row in filled)
    centers = [left + i * step + (step - _GAP) / 2 for i in range(count)]
    figure = blank(left + count * step - _GAP + _MARGIN, 2 * _MARGIN + sum(map(_height, drawn)))
    pictures = []
    top = _MARGIN
    for row in drawn:
        middle = top + (_height(row) - _GAP) / 2
        if isinstance(row, ImageRow):
            write(figure, row.label, left - 2 * _GAP, middle, "right")
            height, across = row.images.shape[1:3]
            pictures += [
                (image, round(x - across / 2), top)
                for image, x in zip(row.images, centers, strict=False)
            ]
            under = top + height + 6
            for x, marked in zip(centers, () if row.marked is None else row.marked, strict=False):
                if marked:
                    ends = (x - across / 2, under, x + across / 2, under)
                    stroke(figure, *ends, color=GREEN, solid_capstyle="butt")
        elif isinstance(row, TextRow):
            write(figure, row.label, left - 2 * _GAP, middle, "right", MUTED, SMALL)
            for text, x, colour in zip(
                row.texts, centers, row.colours or [INK] * len(row.texts), strict=False
            ):
                write(figure, text, x, middle, "center", colour, SMALL)
        top += _height(row)
    return png(figure, pictures)


def styles(names: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """Return a colour and a line style for each name, by its place among the names.

    There are six colours with solid lines, then the same dashed, then dotted.
    """
    colours = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
    dashes = ("-", (0, (4, 1.5)), (0, (1, 1)))
    return {
        n: {"color": colours[i % 6], "linestyle": dashes[i // 6 % 3]}
        for i, n in enumerate(dict.fromkeys(names))
    }


def blank(across: float, down: float) -> Figure:
    """Make an empty white figure of that many pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(across / DPI, down / DPI), dpi=DPI, facecolor="white", layout=None)
    figure.set_layout_engine("none")  # whatever the reader's matplotlibrc says
    FigureCanvasAgg(figure)
    return figure


def write(
    figure: Figure,
    text: str,
    x: float,
    y: float,
    align: str = "left",
    colour: str = INK,
    size: float = NORMAL,
    **more: Any,
) -> None:
    """Write text, centred vertically. Dollar signs are dollar signs, not mathematics.

    Args:
        figure: the figure to write on.
        text: one line; what the font cannot draw is replaced.
        x: pixels from the left, of the text's left, centre or right, as align says.
        y: pixels from the top, of the text's middle.
        align: 'left', 'center' or 'right'.
        colour: of the text.
        size: of the font, in points.
        **more: further properties of matplotlib's Text.
    """
    down = figure.get_figheight() * DPI - y
    figure.text(
        x,
        down,
        drawable(text),
        color=colour,
        size=size,
        family=FONT,
        parse_math=False,
        transform=None,
        ha=align,
        va="center_baseline",
        **more,
    )


def stroke(figure: Figure, x0: float, y0: float, x1: float, y1: float, **style: Any) -> None:
    """Draw a line between two pixels.

    Args:
        figure: the figure to draw on.
        x0: pixels from the left, of one end.
        y0: pixels from the top, of the same end.
        x1: pixels from the left, of the other end.
        y1: pixels from the top, of the other end.
        **style: properties of matplotlib's Line2D.
    """
    from matplotlib.lines import Line2D

    down = figure.get_figheight() * DPI
    figure.add_artist(
        Line2D([x0, x1], [down - y0, down - y1], transform=None, linewidth=1.5, **style)
    )


def axes(figure: Figure, left: float, top: float, across: float, down: float) -> Any:
    """Add axes with nothing but a light baseline and ticks.

    Args:
        figure: the figure to add them to.
        left: pixels from the figure's left.
        top: pixels from the figure's top.
        across: width in pixels.
        down: height in pixels.

    Returns:
        The axes (matplotlib's Axes).
    """
    total = figure.get_figwidth() * DPI, figure.get_figheight() * DPI
    area = figure.add_axes(
        (left / total[0], 1 - (top + down) / total[1], across / total[0], down / total[1]),
        facecolor="none",
    )
    for side in ("top", "right", "left", "bottom"):
        area.spines[side].set_visible(side == "bottom")
        area.spines[side].set_color(RULE)
    area.tick_params(colors=MUTED, labelsize=SMALL, labelfontfamily=FONT, length=0, pad=4)
    area.grid(color=RULE, linewidth=0.6)
    area.set_axisbelow(True)
    return area


def png(figure: Figure, pictures: Sequence[tuple[np.ndarray, int, int]] = ()) -> bytes:
    """Return the figure as a PNG file.

    Pictures (uint8 [H, W, 3], left, top) are copied into it pixel for pixel.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)  # as `blank` makes it
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    for image, left, top in pictures:
        drawn[top : top + image.shape[0], left : left + image.shape[1]] = image
    stream = io.BytesIO()
    Image.fromarray(drawn).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def width(text: str, size: float = NORMAL) -> float:
    """Return the width of the text in pixels."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    if not text:
        return 0.0
    font = FontProperties(family=FONT, size=size)
    points, _, _ = text_to_path.get_text_width_height_descent(drawable(text), font, False)
    return points * DPI / 72


def shorten(text: str, most: int) -> str:
    """Cut the text to `most` characters, an ellipsis included."""
    return text if len(text) <= most else text[: most - 1] + "…"


def drawable(text: str) -> str:
    """Replace what the font cannot draw (another script, a line break).

    Matplotlib would warn and draw a box.
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    known = get_font(findfont(FontProperties(family=FONT))).get_char_index

    def drawn(character: str) -> str:
        if character.isprintable() and known(ord(character)):
            return character
        return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"

    return "".join(map(drawn, text))


def _prepared(row: ImageRow | TextRow | Space) -> ImageRow | TextRow | Space:
    """Turn the row's images into pixels and cut its words to length."""
    if isinstance(row, Space):
        return row
    row = row._replace(label=shorten(row.label, _LABEL))
    if isinstance(row, ImageRow):
        return row._replace(images=pixels(row.images))
    return row._replace(texts=[shorten(text, _WORD) for text in row.texts])


def _widest(texts: Sequence[str]) -> float:
    return max((width(text, SMALL) for text in texts), default=0.0)


def _height(row: ImageRow | TextRow | Space) -> int:
    if isinstance(row, ImageRow):
        return row.images.shape[1] + _GAP + (0 if row.marked is None else _MARK)
    return row.height if isinstance(row, Space) else _LINE


def _shrunk(images: np.ndarray, scale: float) -> np.ndarray:
    from PIL import Image

    size = max(1, round(images.shape[2] * scale)), max(1, round(images.shape[1] * scale))
    return np.stack(
        [
            np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
            for image in images
        ]
    )
