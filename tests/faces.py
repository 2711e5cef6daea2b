"""A folder of small grey portraits, drawn: people differ in shape and features, photos of one
person in light, pose and expression.
"""

from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 92, 112


def write(directory, people=40, photos=10, seed=0):
    """directory/s1/1.pgm ... one subfolder a person, 92x112 pixels, grey; returns the directory."""
    for person in range(people):
        face = _person(np.random.default_rng((seed, person)))
        folder = Path(directory) / f"s{person + 1}"
        folder.mkdir(parents=True)
        for photo in range(photos):
            image = draw(
                face, _photo(np.random.default_rng((seed, person, photo))), (seed, person, photo)
            )
            Image.fromarray(image).save(folder / f"{photo + 1}.pgm")
    return Path(directory)


def _person(rng):
    u = rng.uniform
    return {
        "a": u(0.56, 0.72),
        "b": u(0.80, 0.98),
        "skin": u(0.48, 0.86),
        "ground": u(0.2, 0.9),
        "shirt": u(0.1, 0.9),
        "hair": u(0.04, 0.5),
        "hairline": u(0.38, 0.72),
        "sides": u(0.3, 0.95),
        "parting": u(-0.5, 0.5),
        "eyes": u(0.30, 0.40),
        "eye_y": u(0.05, 0.16),
        "eye_size": u(0.09, 0.13),
        "iris": u(0.05, 0.35),
        "brow": u(0.02, 0.06),
        "brow_y": u(0.13, 0.2),
        "brow_tilt": u(-0.15, 0.15),
        "brow_tone": u(0.1, 0.5),
        "nose": u(0.26, 0.40),
        "nose_width": u(0.08, 0.14),
        "nose_height": u(0.2, 0.38),
        "mouth_y": u(-0.50, -0.40),
        "mouth": u(0.2, 0.33),
        "lips": u(0.03, 0.06),
        "lip_tone": u(0.4, 0.8),
        "beard": max(0.0, u(-0.5, 0.5)),
        "moustache": max(0.0, u(-0.8, 0.6)),
        "glasses": rng.random() < 0.3,
    }


def _photo(rng):
    u = rng.uniform
    return {
        "yaw": u(-0.5, 0.5),
        "pitch": u(-0.2, 0.2),
        "roll": u(-0.1, 0.1),
        "scale": u(0.94, 1.04),
        "x": u(-0.05, 0.05),
        "y": u(-0.04, 0.04),
        "light": u(-1.2, 1.2),
        "height": u(-0.2, 0.8),
        "ambient": u(0.3, 0.55),
        "smile": u(-0.25, 0.9),
        "open": max(0.0, u(-0.6, 0.7)),
        "lids": max(0.0, u(-1.5, 1.0)),
        "gaze": u(-0.4, 0.4),
    }


def draw(face, photo, seed):
    """[112, 92] uint8"""
    scale = 2
    rows, columns = np.mgrid[0 : HEIGHT * scale, 0 : WIDTH * scale] + 0.5
    u, v = (columns / scale - WIDTH / 2) / (HEIGHT / 2), (HEIGHT / 2 - rows / scale) / (HEIGHT / 2)
    u, v = (u - photo["x"]) / photo["scale"], (v - 0.02 - photo["y"]) / photo["scale"]
    rolled_u, rolled_v = (
        np.cos(photo["roll"]) * u + np.sin(photo["roll"]) * v,
        np.cos(photo["roll"]) * v - np.sin(photo["roll"]) * u,
    )
    image = np.full(u.shape, face["ground"]) * (0.92 + 0.08 * v)
    image = _body(image, u, v, face, photo)
    inside, shade = _head(rolled_u, rolled_v, face, photo)
    image = inside * shade + (1 - inside) * image
    image = image.reshape(HEIGHT, scale, WIDTH, scale).mean((1, 3))
    noise = np.random.default_rng((*seed, 7)).normal(0, 0.012, image.shape)
    return np.rint(255 * np.clip(image + noise, 0, 1)).astype(np.uint8)


def _body(image, u, v, face, photo):
    light = 0.75 + 0.25 * np.sin(photo["light"]) * np.clip(u, -1, 1)
    shoulders = _step(-0.78 - 0.5 * u**2 - v, 0.02)
    neck = _step(0.3 - np.abs(u), 0.02) * _step(-0.45 - v, 0.02)
    image = (1 - neck) * image + neck * face["skin"] * 0.62 * light
    return (1 - shoulders) * image + shoulders * face["shirt"] * light


def _head(u, v, face, photo):
    """(coverage, brightness) of an ellipsoid that is turned, with features on its front."""
    a, b, c = face["a"], face["b"], 0.75
    cy, sy, cp, sp = (
        np.cos(photo["yaw"]),
        np.sin(photo["yaw"]),
        np.cos(photo["pitch"]),
        np.sin(photo["pitch"]),
    )
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]]) @ np.array(
        [[1, 0, 0], [0, cp, -sp], [0, sp, cp]]
    )  # head to camera
    origin, ray = np.stack([u, v, 0 * u], -1) @ turn, np.array([0, 0, 1.0]) @ turn
    axes = np.array([a, b, c])
    o, d = origin / axes, ray / axes
    half, length = o @ d, d @ d
    root = half**2 - length * ((o * o).sum(-1) - 1)
    inside = _step(root / 0.03, 0.5)
    point = origin + ((-half + np.sqrt(np.maximum(root, 0))) / length)[..., None] * ray
    x, y, front = point[..., 0] / a, point[..., 1] / b, _step(point[..., 2] / c, 0.1)
    albedo, bump = _features(x, y, front, face, photo)
    normal = point / axes**2
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    slope_rows, slope_columns = np.gradient(bump)
    normal = normal @ turn.T  # to the camera's frame, where the light is
    normal[..., 0] -= 26 * slope_columns * inside
    normal[..., 1] += 26 * slope_rows * inside
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9
    to_light = np.array(
        [
            np.sin(photo["light"]) * np.cos(photo["height"]),
            np.sin(photo["height"]),
            np.cos(photo["light"]),
        ]
    )
    diffuse = np.clip(normal @ (to_light / np.linalg.norm(to_light)), 0, 1)
    return inside, albedo * (photo["ambient"] + (1 - photo["ambient"]) * diffuse)


def _features(x, y, front, face, photo):
    """(albedo, height) over the front of the head, x and y in -1..1."""
    albedo, bump = np.full(x.shape, face["skin"]), 0.0 * x
    bump += (
        face["nose_height"]
        * 0.5
        * _spot(x, y, 0, -0.08, face["nose_width"], face["nose"] * 0.6)
        * _step(y + 0.3, 0.05)
    )
    bump += 0.06 * _spot(x, y, 0, -0.22, 1.6 * face["nose_width"], 0.07)
    for side in (-1, 1):
        nostril = _spot(x, y, side * 0.07, -0.28, 0.035, 0.025)
        albedo = _over(albedo, 0.25 * face["skin"], 0.8 * nostril * front)
        ex, ey, size = side * face["eyes"], face["eye_y"], face["eye_size"]
        bump -= 0.05 * _spot(x, y, ex, ey, 0.17, 0.13)
        opening = size * 0.55 * (1 - photo["lids"])
        white = (
            _step(1 - ((x - ex) / (1.25 * size)) ** 2 - ((y - ey) / (opening + 0.012)) ** 2, 0.25)
            * front
        )
        albedo = _over(albedo, 0.9, white)
        iris = _step(
            1 - ((x - ex - photo["gaze"] * size * 0.7) ** 2 + (y - ey) ** 2) / (0.55 * size) ** 2,
            0.2,
        )
        albedo = _over(albedo, face["iris"], white * iris)
        line = (
            y
            - ey
            - face["brow_y"]
            - side * face["brow_tilt"] * (x - ex)
            + 0.9 * (x - ex) ** 2
            - 0.03 * photo["smile"]
        )
        brow = np.exp(-((line / face["brow"]) ** 2)) * _step(0.19 - np.abs(x - ex), 0.02) * front
        albedo = _over(albedo, face["brow_tone"] * face["skin"], 0.85 * brow)
        if face["glasses"]:
            ring = np.exp(-(((np.hypot((x - ex) / 1.2, y - ey) - 0.17) / 0.025) ** 2))
            albedo = _over(albedo, 0.08, 0.9 * ring * front)
    if face["glasses"]:
        albedo = _over(
            albedo,
            0.08,
            0.9
            * np.exp(-(((y - face["eye_y"]) / 0.02) ** 2))
            * _step(0.16 - np.abs(x), 0.02)
            * front,
        )
    wide = face["mouth"] * (1 + 0.25 * photo["smile"])
    bend = y - face["mouth_y"] - 0.9 * photo["smile"] * (x**2 - 0.02)
    across = _step(wide - np.abs(x), 0.03) * front
    lips = np.exp(-((bend / (face["lips"] + 0.1 * photo["open"])) ** 2)) * across
    albedo = _over(albedo, face["lip_tone"] * face["skin"], 0.8 * lips)
    gap = np.exp(-((bend / (0.012 + 0.075 * photo["open"])) ** 2)) * across
    albedo = _over(albedo, 0.12 + 0.6 * (photo["smile"] > 0.5), 0.85 * gap)
    bump += 0.03 * lips
    albedo = _over(
        albedo,
        0.35 * face["skin"],
        face["beard"] * _step(-0.42 - y - 0.25 * x**2 + 0.5 * np.abs(x) - 0.1, 0.06) * front,
    )
    under_nose = (
        np.exp(-(((y - face["mouth_y"] - 0.09) / 0.04) ** 2))
        * _step(0.25 - np.abs(x), 0.04)
        * front
    )
    albedo = _over(albedo, 0.3 * face["skin"], face["moustache"] * under_nose)
    top = _step(y - face["hairline"] + 0.25 * (x - face["parting"]) ** 2, 0.03)
    sides = _step(np.abs(x) - 0.86 + 0.25 * _step(y - 1 + face["sides"], 0.1), 0.03) * _step(
        y + face["sides"] - 0.5, 0.05
    )
    return _over(
        albedo, face["hair"], np.clip(np.maximum(np.maximum(top, sides), 1 - front), 0, 1)
    ), bump


def _step(x, softness):
    return 1 / (1 + np.exp(-np.clip(x / softness, -40, 40) * 2))


def _spot(x, y, x0, y0, width, height):
    return np.exp(-(((x - x0) / width) ** 2) - ((y - y0) / height) ** 2)


def _over(below, above, coverage):
    return (1 - coverage) * below + coverage * above
