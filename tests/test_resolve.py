"""What a config leaves to its data and its generator."""

import numpy as np
import pytest

from natra_jax.data import folder as folder_source
from natra_jax.data import from_arrays
from natra_jax.data.survey import FolderSurvey, survey
from natra_jax.experiments import base, digits, folder
from natra_jax.resolve import resolve
from natra_jax.types import UserError
from tests.data import photos
from tests.weights import made


@pytest.fixture
def photos_of(tmp_path):
    """photos_of(**fields) -> the folder experiment on ten photos; double underscores stand for
    dots.
    """

    def photos_of(**fields):
        c = folder.get_config()
        c.data.path = str(photos.classes(tmp_path / "photos", {"cat": 5, "dog": 5}))
        c.update_from_flattened_dict(
            {name.replace("__", "."): value for name, value in fields.items()}
        )
        return c

    return photos_of


@pytest.mark.parametrize(
    "count, resolution",
    [(10, 32), (1_999, 32), (2_000, 64), (19_999, 64), (20_000, 128), (10**6, 128)],
)
def test_where_the_generator_is_trained_more_photos_allow_for_more_pixels(
    photos_of, monkeypatch, count, resolution
):
    monkeypatch.setattr(FolderSurvey, "count", count)
    monkeypatch.setattr(FolderSurvey, "typical_side", lambda self: 500)
    c = resolve(photos_of(data__channels=3))
    assert c.data.resolution == c.generator.resolution == resolution


def test_photos_without_labels_count_too(photos_of, tmp_path, monkeypatch):
    monkeypatch.setattr(
        folder_source, "listed", lambda path, field="": [("a.png", 1)] * (1_500 if field else 1_000)
    )
    monkeypatch.setattr(FolderSurvey, "typical_side", lambda self: 500)
    assert (
        resolve(photos_of(data__channels=3, data__unlabelled=str(tmp_path))).data.resolution == 64
    )


@pytest.mark.parametrize("side, resolution", [(5, 8), (28, 32), (32, 32), (33, 64), (300, 128)])
def test_small_photos_are_not_scaled_up_beyond_the_next_power_of_two(
    tmp_path, monkeypatch, side, resolution
):
    c = folder.get_config()
    for name in ("cat", "dog"):
        photos.write(tmp_path / "photos" / name / "1.png", photos.grey(9, side + 7, side))
    c.data.path = str(tmp_path / "photos")
    monkeypatch.setattr(FolderSurvey, "count", 10**6)
    assert resolve(c).data.resolution == resolution


def test_a_checkpoint_says_the_resolution_and_how_many_layers_there_are(photos_of, tmp_path):
    c = resolve(photos_of(generator__weights=str(made.file("stylegan1", tmp_path))))
    assert c.data.resolution == 16 and c.generator.resolution == 0
    assert c.directions.layers == c.advmix.layers == (0, 6)


@pytest.mark.parametrize("fields", [{"data__resolution": 64}, {"generator__resolution": 64}])
def test_what_is_said_stays(photos_of, fields):
    c = resolve(photos_of(**fields))
    assert c.data.resolution == c.generator.resolution == 64


LAYERS = {
    (): (0, 8),
    (0, 0): (0, 8),
    (3, 0): (3, 8),
    (2, 4): (2, 4),
    ((0, 2), (5, 8)): ((0, 2), (5, 8)),
}


@pytest.mark.parametrize("layers", LAYERS)
def test_layers_end_with_the_generators_where_they_are_left_open(photos_of, layers):
    c = resolve(
        photos_of(generator__resolution=32, directions__layers=layers, advmix__layers=(1, 0))
    )
    assert c.directions.layers == LAYERS[layers] and c.advmix.layers == (1, 8)


@pytest.mark.parametrize("resolution", [8, 16, 128, 1024])
def test_an_encoder_of_no_widths_gets_those_that_leave_4x4_pixels(photos_of, resolution):
    widths = resolve(photos_of(generator__resolution=resolution, encoder__widths=())).encoder.widths
    assert resolution == 4 * 2 ** (len(widths) - 1)
    assert widths[0] == 32 and all(
        after in (2 * width, 512) for width, after in zip(widths, widths[1:], strict=False)
    )


def test_the_config_itself_stays_as_it_was(photos_of):
    c = photos_of(encoder__widths=())
    before = c.to_dict()
    assert resolve(c).to_dict() != before and c.to_dict() == before


def test_what_is_resolved_is_resolved_again_to_the_same(photos_of):
    once = resolve(photos_of(encoder__widths=(), directions__layers=(2, 0)))
    assert resolve(once).to_dict() == once.to_dict()


def test_without_a_generator_nothing_is_made_of_its_layers(photos_of):
    c = resolve(photos_of(generator__family="none", data__resolution=24))
    assert c.data.resolution == 24 and c.directions.layers == () and c.generator.resolution == 0


def test_digits_are_of_16_pixels_and_no_others():
    c = digits.get_config()
    c.data.resolution = 0
    assert resolve(c).data.resolution == 16
    c.data.resolution = 32
    with pytest.raises(UserError, match="data.resolution is 32: digits are of 16"):
        resolve(c)


def test_arrays_are_of_the_size_that_they_have():
    c = base.get_config()
    c.data.update(name="arrays", resolution=0)
    source = from_arrays((np.zeros((12, 8, 8, 1), np.uint8), np.arange(12) % 2))
    resolved = resolve(c, survey(c.data, source))
    assert resolved.data.resolution == resolved.generator.resolution == 8


@pytest.mark.parametrize(
    "section, field", [("data", "path"), ("generator", "weights"), ("train", "init_from")]
)
def test_what_is_missing_is_asked_for_in_the_experiments_own_words(photos_of, section, field):
    c = photos_of(
        obtain__data="photos: here.",
        obtain__weights="a generator: there.",
        obtain__classifier="a classifier: elsewhere.",
    )
    said = {
        "data": "photos: here.",
        "generator": "a generator: there.",
        "train": "a classifier: elsewhere.",
    }[section]
    c[section][field] = "nowhere/at all"
    with pytest.raises(UserError) as error:
        resolve(c)
    assert (
        str(error.value) == f"config field {section}.{field} is 'nowhere/at all': not there: {said}"
    )


def test_arrays_and_digits_are_asked_for_at_no_path():
    c = base.get_config()
    c.name, c.obtain.data, c.data.path = "own", "photos: here.", "nowhere"
    assert resolve(c).data.resolution == 16
    c.data.name = "arrays"
    source = from_arrays((np.zeros((12, 8, 8, 3), np.uint8), np.arange(12) % 2))
    resolve(c, survey(c.data, source))
