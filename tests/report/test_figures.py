"""Figures, decoded again with Pillow: sizes, exact pixels of images, hostile or odd input."""

import io
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from natra_jax.report import (
    build,
    canvas,
    curves,
    direction_strip,
    escaped,
    histograms,
    image_grid,
    metric_dots,
    reconstruction_grid,
)
from natra_jax.types import Record

RED, TEAL = (255, 0, 0), (0, 128, 128)  # colours that no text or line of a figure has


def decoded(png):
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG" and image.mode == "RGB"
        return np.asarray(image)


def plain_image(colour, n=1, size=16):
    return np.broadcast_to(np.array(colour, np.float32) / 127.5 - 1, (n, size, size, 3))


def count(picture, colour):
    return int((picture == np.array(colour)).all(-1).sum())


def places(picture, colour):
    """Bounding box (top, left, bottom, right) of a colour."""
    rows, columns = np.nonzero((picture == np.array(colour)).all(-1))
    return rows.min(), columns.min(), rows.max() + 1, columns.max() + 1


def table(**values):
    def one(method, seed, metric, value):
        return Record(method, seed, "test_shift", metric, value, 100, None, None, "")

    return build(
        [
            one(m, s, k, v)
            for m, row in values.items()
            for k, vs in row.items()
            for s, v in enumerate(vs)
        ],
        list(values),
    )


class TestPixels:
    @given(
        st.integers(1, 60), st.integers(1, 60), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1)
    )
    @settings(max_examples=25)
    def test_small_images_become_whole_squares(self, height, width, channels, seed):
        values = np.random.default_rng(seed).integers(0, 256, (2, height, width, channels))
        shown = canvas.pixels(values / 127.5 - 1)
        factor = shown.shape[1] // height
        assert shown.shape == (2, height * factor, width * factor, 3)
        assert 64 <= max(shown.shape[1:3]) <= 128
        for i in range(factor):
            np.testing.assert_array_equal(
                shown[:, i::factor, i::factor], np.broadcast_to(values, (2, height, width, 3))
            )

    @pytest.mark.parametrize(
        "size, shown", [(16, 128), (64, 128), (128, 128), (200, 200), (256, 256), (1024, 256)]
    )
    def test_sizes(self, size, shown):
        assert canvas.pixels(np.zeros((1, size, size, 3))).shape == (1, shown, shown, 3)

    def test_large_images_keep_shape_and_mean(self):
        image = np.linspace(-1, 1, 600 * 300, dtype=np.float32).reshape(1, 600, 300, 1)
        shown = canvas.pixels(image)
        assert shown.shape == (1, 256, 128, 3)
        assert abs(shown.mean() - 127.5) < 1

    def test_values_outside_are_clipped_and_what_is_not_finite_is_magenta(self):
        image = np.array([-7, -1, 1, 9, math.nan, math.inf], np.float32).reshape(1, 1, 6, 1)
        shown = canvas.pixels(image)
        factor = shown.shape[2] // 6
        np.testing.assert_array_equal(shown[0, 0, ::factor, 1], [0, 0, 255, 255, 0, 0])
        np.testing.assert_array_equal(shown[0, 0, ::factor, 0], [0, 0, 255, 255, 255, 255])

    @pytest.mark.parametrize("shape", [(0, 8, 8, 3), (2, 8, 8), (2, 8, 8, 2), (1, 0, 8, 3)])
    def test_other_shapes_are_refused_with_the_shape(self, shape):
        with pytest.raises(ValueError, match=r"\[N, H, W, C\]"):
            canvas.pixels(np.zeros(shape))


class TestSheets:
    def test_a_grid_holds_every_image_whole(self):
        picture = decoded(
            image_grid([plain_image(RED, 5), plain_image(TEAL, 3)], ["train", "test"])
        )
        assert count(picture, RED) == 5 * 128 * 128 and count(picture, TEAL) == 3 * 128 * 128
        (red_top, red_left, red_bottom, red_right), (top, left, *_) = (
            places(picture, RED),
            places(picture, TEAL),
        )
        assert red_left == left and red_bottom < top and red_bottom - red_top == 128
        assert red_right - red_left == 5 * 128 + 4 * 8
        # Nothing but margins beyond the images: 4 pixels at the right and the top, 4 and a gap at
        # the bottom.
        assert picture.shape[:2] == (4 + 2 * (128 + 8) + 4, red_right + 4)
        assert (red_top, picture[red_top - 1].min()) == (4, 255)

    def test_labels_are_drawn_left_of_the_images(self):
        picture = decoded(image_grid([plain_image(RED)], ["a split"]))
        left = places(picture, RED)[1]
        assert picture[:, :left].min() < 100
        assert count(decoded(image_grid([plain_image(RED)], [""])), RED) == 128 * 128

    def test_images_stand_over_their_reconstructions_and_wrap(self):
        picture = decoded(reconstruction_grid(plain_image(RED, 5), plain_image(TEAL, 5), columns=3))
        top, left, *_ = places(picture, RED)
        red, teal = ((picture[:, left + 64] == np.array(colour)).all(-1) for colour in (RED, TEAL))
        order = "".join("r" if r else "t" for r, t in zip(red, teal, strict=True) if r or t)
        assert order == ("r" * 128 + "t" * 128) * 2
        assert count(picture, RED) == count(picture, TEAL) == 5 * 128 * 128
        with pytest.raises(ValueError, match="differ in shape"):
            reconstruction_grid(plain_image(RED, 5), plain_image(TEAL, 4))

    def test_a_strip_marks_the_useful_range(self):
        strip = np.stack([plain_image(RED, 5), plain_image(TEAL, 5), plain_image(RED, 5)])
        multiples = [-2, -1, 0, 1, 2]
        bare = decoded(direction_strip(strip, ["a", "b", "c"], multiples))
        picture = decoded(
            direction_strip(strip, ["a", "b", "c"], multiples, useful=[1.0, 0.0, math.inf])
        )
        green = tuple(int(canvas.GREEN[i : i + 2], 16) for i in (1, 3, 5))
        assert count(bare, green) == 0
        top, left, _, right = places(picture, green)
        assert right - left == 3 * 128 + 2 * 8  # -1, 0 and 1 of the first direction
        rows = [
            row
            for row in range(len(picture))
            if count(picture[row : row + 1], green) in (3 * 128, 128)
        ]
        assert (
            rows
            and min(rows) < places(picture, TEAL)[0] < max(rows) < places(picture, TEAL)[2] + 12
        )
        with pytest.raises(ValueError, match="2 names"):
            direction_strip(strip, ["a", "b"], multiples)

    def test_escaped_samples_tell_right_from_wrong_by_colour(self):
        images = (plain_image(RED, 2), plain_image(TEAL, 2), plain_image(RED, 2))
        blue, vermillion = (
            tuple(int(c[i : i + 2], 16) for i in (1, 3, 5))
            for c in (canvas.BLUE, canvas.VERMILLION)
        )
        right = decoded(escaped(*images, [3, 5], {"natra": np.array([3, 5])}))
        wrong = decoded(
            escaped(*images, ["3", "5"], {"natra": ["8", "a cat with a very long name"]})
        )
        assert count(right, blue) > 0 and count(right, vermillion) == 0
        assert count(wrong, blue) == 0 and count(wrong, vermillion) > 0
        assert wrong.shape[1] > right.shape[1]
        with pytest.raises(ValueError):
            escaped(*images, [3, 5], {"natra": [3]})

    @pytest.mark.parametrize(
        "name",
        [
            "<script>",
            r"$\frac$",
            "$x",
            r"\frac",
            "多言語",
            "_hidden",
            "a\nb\x1b",
            "x" * 500,
            "\udc80",
            "",
        ],
    )
    def test_any_name_can_be_drawn(self, name):
        picture = decoded(image_grid([plain_image(RED)], [name]))
        assert count(picture, RED) == 128 * 128 and picture.shape[1] < 1000
        assert decoded(metric_dots(table(**{name: {name: [0.5]}}))).shape[2] == 3

    def test_a_dollar_sign_is_no_mathematics(self):
        assert canvas.width("$x$") > canvas.width("x$") > canvas.width("x")


class TestCharts:
    def test_dots_stand_where_the_values_are(self):
        picture = decoded(
            metric_dots(
                table(original={"accuracy": [0.0]}, a={"accuracy": [0.5]}, b={"accuracy": [1.0]})
            )
        )
        blue = tuple(int(canvas.BLUE[i : i + 2], 16) for i in (1, 3, 5))
        area = picture[:, : picture.shape[1] // 2]  # the accuracy; error reductions are beside it
        rows = [np.nonzero((area[row] == blue).all(-1))[0] for row in range(len(area))]
        widest = [row.mean() for row in rows if len(row) > 6]
        first, last = np.unique(np.round(widest, -1))[[0, -1]]
        assert last - first == pytest.approx(
            160, abs=12
        )  # half of an axis of 320 pixels from 0 to 100 %

    def test_panels_wrap(self):
        values = {f"metric{i}": [0.1 * i, 0.2 * i] for i in range(5)}
        one, five = (decoded(metric_dots(table(a=v, b=v))) for v in ({"metric0": [0.1]}, values))
        assert five.shape[0] == 2 * one.shape[0] and five.shape[1] > 3 * one.shape[1]

    def test_odd_numbers_are_drawn_without_complaint(self):
        odd = table(
            original={"accuracy": [math.nan]},
            a={"accuracy": [1.0, 1.0]},
            b={"loss": [math.inf]},
            c={"loss": [0.0]},
        )
        assert decoded(metric_dots(odd)).size

    def test_curves_fix_colours_by_the_given_methods(self):
        steps = np.arange(5)
        lines = {"loss": {"natra": (steps, np.ones((3, 5)) * steps)}}
        colours = [
            tuple(int(c[i : i + 2], 16) for i in (1, 3, 5))
            for c in (canvas.BLUE, canvas.VERMILLION)
        ]
        alone, second = (
            decoded(curves(lines)),
            decoded(curves(lines, methods=["original", "natra"])),
        )
        assert alone.shape == second.shape
        assert [count(alone, colour) > 0 for colour in colours] == [True, False]
        assert [count(second, colour) > 0 for colour in colours] == [False, True]

    def test_curves_of_a_lone_point_gaps_and_a_limit(self):
        with_limit = curves(
            {"radius": {"a": ([7], [1.5]), "b": ([0, 1, 2], [0.0, math.nan, math.inf])}},
            limits={"radius": 4.0},
        )
        assert (
            decoded(with_limit).shape
            == decoded(curves({"radius": {"a": ([7], [1.5]), "b": ([], [])}})).shape
        )
        with pytest.raises(ValueError, match="no line"):
            curves({"loss": {}})

    def test_every_method_of_many_has_its_own_line(self):
        styles = [
            tuple(style.values())
            for style in canvas.styles([f"method{i}" for i in range(18)]).values()
        ]
        assert len(set(styles)) == 18
        assert (
            decoded(curves({"loss": {f"method{i}": ([0, 1], [i, i]) for i in range(18)}})).shape[0]
            > 18 * 36
        )

    def test_histograms_share_one_scale(self):
        blue, vermillion = (
            tuple(int(c[i : i + 2], 16) for i in (1, 3, 5))
            for c in (canvas.BLUE, canvas.VERMILLION)
        )
        picture = decoded(
            histograms(
                {"a": np.repeat([0.1, 3.9], 50), "b": np.full(7, 3.9)}, "radius (sigma)", limit=4.0
            )
        )
        assert picture.shape[0] == 12 + 2 * (90 + 22) + 84
        wanted = [
            (np.abs(picture.astype(int) - (0.85 * np.array(c) + 0.15 * 255)).max(-1) <= 2).sum()
            for c in (blue, vermillion)
        ]
        assert wanted[0] == pytest.approx(wanted[1], rel=0.12)  # half of it twice, all of it once
        with pytest.raises(ValueError, match="no values"):
            histograms({}, "radius")

    @pytest.mark.parametrize("values", [[], [0.0, 0.0], [math.nan, math.inf, 1.0], [-1.0, 2.0]])
    def test_histograms_of_odd_values(self, values):
        assert decoded(histograms({"a": np.array(values)}, "radius")).size


def test_the_same_figure_is_the_same_file():
    values = table(original={"accuracy": [0.1, 0.2]}, natra={"accuracy": [0.7, 0.8]})
    assert metric_dots(values) == metric_dots(values)


def test_no_global_state_and_no_matplotlib_until_a_figure_is_made():
    code = (
        "import sys, natra_jax.report as report, numpy as np\n"
        "assert 'matplotlib' not in sys.modules and 'PIL' not in sys.modules\n"
        "import matplotlib\n"
        # reading rcParams itself may choose a backend
        "state = lambda: dict(dict.items(matplotlib.rcParams))\n"
        "before = state()\n"
        "report.image_grid([np.zeros((1, 4, 4, 1))], ['x'])\n"
        "assert 'matplotlib.pyplot' not in sys.modules and state() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
