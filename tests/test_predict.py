"""`natra_jax.predict`: a line for each image file, and one line for a mistake."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from natra_jax import predict
from natra_jax.printable import column
from natra_jax.stages import classifier, data
from tests.classifiers import own
from tests.stages import small

ROOT = Path(__file__).parents[1]
HEIGHT, WIDTH, CHANNELS = small.SHAPE
RNG = np.random.default_rng(4)
COLOURS = RNG.integers(0, 256, small.SHAPE, np.uint8)
WEIGHTS = [
    own.Weights(
        *(RNG.normal(size=s).astype(np.float32) for s in ((192, small.CLASSES), small.CLASSES))
    ),
    {"scale": np.float32(0.1)},
]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Return a work directory with a classifier of known weights."""
    context = small.context(tmp_path_factory.mktemp("work"), small.config())
    for training in ("natra-0", "natra-2", "original-0"):
        directory = context.workdir / "train" / training
        directory.mkdir(parents=True)
        state = SimpleNamespace(params={"weights": WEIGHTS}, batch_stats={})
        classifier.save(directory, context.config, data.info(context), state)
    return context.workdir


@pytest.fixture
def said(workdir, tmp_path, monkeypatch, capsys):
    """Return said(arguments) -> (exit code, stdout, stderr) of the command.

    {work} and {tmp} in an argument are directories.
    """

    def said(*arguments):
        filled = [
            argument.replace("{work}", str(workdir)).replace("{tmp}", str(tmp_path))
            for argument in arguments
        ]
        if not any(argument.startswith("--factory=") for argument in filled):
            filled.append(f"--factory={small.OWN}:plain")
        monkeypatch.setattr(sys, "argv", ["predict", *filled])
        code = 0
        try:
            predict.run()
        except SystemExit as exit_:
            code = exit_.code
        return code, *capsys.readouterr()

    return said


def answer(pixels):
    """Return class and probability of uint8 pixels, in NumPy."""
    kernel, bias = WEIGHTS[0]
    logits = 0.1 * (pixels.astype(np.float64) / 127.5 - 1).reshape(-1) @ kernel + bias
    probabilities = np.exp(logits) / np.exp(logits).sum()
    return int(probabilities.argmax()), probabilities.max()


def check(line, path, pixels):
    name, label, probability = line.split("\t")
    expected_label, expected = answer(pixels)
    assert (
        name == str(path)
        and label == "abc"[expected_label]
        and abs(float(probability) - expected) < 1e-4
    )


GREY = RNG.integers(0, 256, (HEIGHT, WIDTH), np.uint8)
FORMS = {
    "colours.png": (Image.fromarray(COLOURS), COLOURS),
    "colours.bmp": (Image.fromarray(COLOURS), COLOURS),
    "opaque.png": (
        Image.fromarray(np.dstack([COLOURS, np.full((HEIGHT, WIDTH), 255, np.uint8)])),
        COLOURS,
    ),
    "grey.png": (Image.fromarray(GREY), np.dstack([GREY] * 3)),
    "grey16.png": (Image.fromarray(GREY.astype(np.uint16) * 257), np.dstack([GREY] * 3)),
    "palette.png": (Image.fromarray(COLOURS).quantize(256), COLOURS),
}


def test_every_image_gets_a_line_with_its_class_and_probability(said, tmp_path):
    for name, (image, _) in FORMS.items():
        image.save(tmp_path / name)
    code, out, err = said("--workdir={work}", *("{tmp}/" + name for name in FORMS), "--seed=2")
    assert code == 0 and err == ""
    lines = out.splitlines()
    for line, (name, (_, pixels)) in zip(lines, FORMS.items(), strict=True):
        check(line, tmp_path / name, pixels)
    assert len({line.split("\t")[2] for line in lines}) == 2, "the colours and the greys"


def test_an_image_is_turned_as_its_exif_says(said, tmp_path):
    image = Image.fromarray(COLOURS)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    _, out, _ = said("--workdir={work}", "{tmp}/turned.png")
    check(out.rstrip("\n"), tmp_path / "turned.png", np.rot90(COLOURS, -1))


def test_resize_scales_an_image_of_another_size(said, tmp_path):
    constant = np.full((20, 30, 3), (10, 200, 90), np.uint8)
    Image.fromarray(constant).save(tmp_path / "large.png")
    _, out, _ = said("--workdir={work}", "--resize", "{tmp}/large.png")
    check(out.rstrip("\n"), tmp_path / "large.png", constant[:HEIGHT, :WIDTH])


def test_photos_of_any_size_are_seen_as_the_training_photos_were(tmp_path, said):
    context = small.context(tmp_path / "work", small.config(data__name="folder", data__fit="pad"))
    directory = context.workdir / "train" / "natra-0"
    directory.mkdir(parents=True)
    classifier.save(
        directory,
        context.config,
        data.info(context),
        SimpleNamespace(params={"weights": WEIGHTS}, batch_stats={}),
    )
    constant = np.full((4 * HEIGHT, 2 * WIDTH, 3), (10, 200, 90), np.uint8)
    Image.fromarray(constant).save(tmp_path / "tall.png")
    _, out, _ = said("--workdir={tmp}/work", "{tmp}/tall.png")
    padded = np.zeros(small.SHAPE, np.uint8)
    padded[:, WIDTH // 4 : 3 * WIDTH // 4] = (10, 200, 90)
    check(out.rstrip("\n"), tmp_path / "tall.png", padded)


def test_no_name_of_a_file_or_class_forges_a_line(said, tmp_path):
    context = small.context(tmp_path / "work", small.config())
    directory = context.workdir / "train" / "natra-0"
    directory.mkdir(parents=True)
    state = SimpleNamespace(params={"weights": WEIGHTS}, batch_stats={})
    classifier.save(directory, context.config, data.info(context), state)
    card = json.loads((directory / "classifier.json").read_text())
    card["classes"] = ["a\tb\n=1\x1b[31m", "c\\t\u202e", "d\u2028"]
    (directory / "classifier.json").write_text(json.dumps(card))
    names = ["a\tb.png", "c\nd.png\tcat\t1.0000\n.png", "e\\tf.png", "g\x1b[2J.png", "é 中.png"]
    for name in names:
        Image.fromarray(COLOURS).save(tmp_path / name)
    code, out, err = said("--workdir={tmp}/work", *("{tmp}/" + name for name in names))
    assert code == 0 and err == "" and out.count("\n") == len(names)
    for line, name in zip(out.split("\n"), names, strict=False):
        path, label, probability = line.split("\t")
        assert path == column(f"{tmp_path}/{name}") and float(probability) <= 1
        assert label in map(column, card["classes"]) and line.replace("\t", "").isprintable()
    assert column("a\tb") == r"a\tb" and column(r"a\tb") == r"a\\tb"


MISTAKES = {
    ("--workdir={work}", "{tmp}/missing.png"): ["missing.png", "is not there"],
    ("--workdir={work}", "{tmp}"): ["is a folder", "name a regular file"],
    ("--workdir={work}", "{tmp}/text.png"): ["text.png", "is no image that can be read"],
    ("--workdir={work}", "{tmp}/cut.png"): ["cut.png", "is damaged"],
    ("--workdir={work}", "{tmp}/large.png"): ["large.png", "30x20", "width", "8x8", "--resize"],
    ("--workdir={work}", "--method=adv", "{tmp}/large.png"): [
        "'adv'",
        "natra (seeds 0, 2), original (seed 0)",
    ],
    ("--workdir={work}", "--seed=1", "{tmp}/large.png"): [
        "'natra' from seed 1",
        "natra (seeds 0, 2)",
    ],
    ("--workdir={tmp}", "{tmp}/large.png"): ["no experiment there"],
    ("--workdir={work}", "--factory=", "{tmp}/large.png"): [
        f"is of a classifier that the function '{small.OWN}:plain' makes",
        "would be run",
        "--factory=MODULE:FUNCTION",
    ],
    ("--workdir={work}", "--factory=harm:net", "{tmp}/large.png"): [
        f"is of a classifier that the function '{small.OWN}:plain' makes",
        "the factory that is given is 'harm:net'",
    ],
    ("{tmp}/large.png",): ["--workdir=DIR is missing"],
    ("--workdir={work}",): ["no image is named"],
    ("--workdir={work}", "--metod=natra", "x.png"): ["metod", "method"],
    ("--workdir={work}", "--seed=one", "x.png"): ["seed", "one"],
}


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_a_mistake_is_one_line_that_names_it(said, tmp_path, arguments):
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "large.png")
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(COLOURS).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:120])
    code, out, err = said(*arguments)
    assert code == 2 and out == ""
    assert err.startswith("natra_jax: ") and err.endswith("\n") and err.count("\n") == 1, err
    for part in MISTAKES[arguments]:
        assert part in err
        err = err[err.index(part) + len(part) :]


def test_damaged_weights_are_one_line(said, workdir, tmp_path):
    Image.fromarray(COLOURS).save(tmp_path / "colours.png")
    path = workdir / "train/original-0/classifier.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    code, out, err = said("--workdir={work}", "--method=original", "{tmp}/colours.png")
    path.write_bytes(whole)
    assert (
        code == 2 and out == "" and err.count("\n") == 1 and "classifier.npz: cannot be read" in err
    )


def test_the_real_command_prints_its_help():
    run = subprocess.run(
        [sys.executable, "-m", "natra_jax.predict", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0 and run.stderr == ""
    for part in ("--workdir=DIR", "IMAGES", "--method", "--seed", "--[no]resize"):
        assert part in run.stdout
