"""Tiny data sets in their publishers' layouts; imported ones as TensorFlow Datasets reads them."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

ATTRIBUTES = [f"Attribute_{i}" for i in range(38)] + ["Smiling", "Young"]
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
CELEBA_SPLITS = ("train", "validation", "test")


def encoded(
    seed: int, kind: str = "JPEG", size: tuple[int, int] = (6, 8), mode: str = "RGB"
) -> bytes:
    """Noise; size is (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind)
    return file.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A small PNG that says it is of another size."""
    data = encoded(0, "PNG")
    head = b"IHDR" + struct.pack(">2I", width, height) + data[24:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def read(directory: Path) -> dict[str, list[dict]]:
    """{split: its examples}, images as they are stored, strings decoded."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(directory)
    stored = {"image": tfds.decode.SkipDecoding()}
    found = {}
    for split, info in builder.info.splits.items():
        source = builder.as_data_source(split, decoders=stored)
        assert len(source) == info.num_examples
        found[split] = [
            {
                k: v.decode() if k != "image" and isinstance(v, bytes) else v
                for k, v in example.items()
            }
            for example in source
        ]
    return found


def pixels(directory: Path, split: str) -> np.ndarray:
    """[N, H, W, C] as TensorFlow Datasets decodes them."""
    import tensorflow_datasets as tfds

    return np.stack(
        [
            example["image"]
            for example in tfds.builder_from_directory(directory).as_data_source(split)
        ]
    )


def tree(directory: Path) -> dict[str, bytes]:
    """Every file below the directory."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def unpacked(directory: Path, members: dict[str, bytes]) -> Path:
    for name, data in members.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


def celeba_images(count: int) -> dict[str, bytes]:
    return {f"{i:06d}.jpg": encoded(i) for i in range(1, count + 1)}


def celeba_facts(image: str) -> dict:
    """Return what the tables of `celeba_tables` say of an image: any rule that tells them apart."""
    number = int(Path(image).stem)
    return {
        "split": CELEBA_SPLITS[number % 4 % 3],
        "identity": 1 + number * number % 10_177,
        "attributes": {name: (number >> i % 5) % 2 == 1 for i, name in enumerate(ATTRIBUTES)},
    }


def celeba_tables(directory: Path, images: list[str]) -> None:
    """list_attr_celeba.txt, identity_CelebA.txt and list_eval_partition.txt."""
    directory.mkdir(parents=True, exist_ok=True)
    facts = {image: celeba_facts(image) for image in images}
    rows = [
        f"{image}  " + " ".join("1" if on else "-1" for on in said["attributes"].values())
        for image, said in facts.items()
    ]
    (directory / "list_attr_celeba.txt").write_text(
        "\n".join([str(len(images)), " ".join(ATTRIBUTES) + " ", *rows]) + "\n"
    )
    (directory / "identity_CelebA.txt").write_text(
        "".join(f"{image} {said['identity']}\n" for image, said in facts.items())
    )
    partition = "".join(
        f"{image} {CELEBA_SPLITS.index(said['split'])}\n" for image, said in facts.items()
    )
    (directory / "list_eval_partition.txt").write_text(partition)


def celeba(directory: Path, count: int = 9) -> dict[str, bytes]:
    """The aligned images in a zip and the tables beside it; {file name: its bytes}."""
    images = celeba_images(count)
    celeba_tables(directory, list(images))
    zipped(
        directory / "img_align_celeba.zip",
        {"img_align_celeba/": b""} | {f"img_align_celeba/{n}": d for n, d in images.items()},
    )
    return images


def celeba_hq_list(directory: Path, originals: list[int]) -> None:
    """image_list.txt; originals[i] is the number of CelebA's file that image i is of."""
    rows = [
        f"{i} {number - 1} {number:06d}.jpg {'a' * 32} {'b' * 32}"
        for i, number in enumerate(originals)
    ]
    (directory / "image_list.txt").write_text(
        "\n".join(["idx orig_idx orig_file proc_md5 final_md5", *rows]) + "\n"
    )


def lmdb(directory: Path, values: dict[str, bytes]) -> Path:
    import lmdb as lmdb_

    directory.mkdir(parents=True)
    with (
        lmdb_.open(str(directory), map_size=2**24) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, value in values.items():
            transaction.put(key.encode(), value)
    return directory


def cifar10(
    count: int = 4,
) -> tuple[dict[str, bytes], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """({file name: its bytes}, {split: images [N, 32, 32, 3]}, {split: labels [N]})."""
    rng = np.random.default_rng(0)
    files, images, labels = {"batches.meta.txt": ("\n".join(CIFAR10) + "\n\n").encode()}, {}, {}
    for split, names in {
        "train": [f"data_batch_{i}.bin" for i in range(1, 6)],
        "test": ["test_batch.bin"],
    }.items():
        images[split] = rng.integers(0, 256, (count * len(names), 32, 32, 3), np.uint8)
        labels[split] = rng.integers(0, 10, count * len(names), np.uint8)
        planes = images[split].transpose(0, 3, 1, 2).reshape(len(labels[split]), -1)
        records = np.concatenate([labels[split][:, None], planes], axis=1)
        files |= {
            name: records[i * count : (i + 1) * count].tobytes() for i, name in enumerate(names)
        }
    return files, images, labels


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def mnist(
    directory: Path, compressed: bool, count: int = 5
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The four files; ({split: images [N, 28, 28]}, {split: labels [N]})."""
    rng, images, labels = np.random.default_rng(1), {}, {}
    directory.mkdir(parents=True, exist_ok=True)
    for split, prefix in {"train": "train", "test": "t10k"}.items():
        images[split] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels[split] = rng.integers(0, 10, count, np.uint8)
        for name, array in {
            f"{prefix}-images-idx3-ubyte": images[split],
            f"{prefix}-labels-idx1-ubyte": labels[split],
        }.items():
            data = gzip.compress(idx(array)) if compressed else idx(array)
            (directory / f"{name}{'.gz' if compressed else ''}").write_bytes(data)
    return images, labels


def classes(
    directory: Path, splits: list[str], names: tuple[str, ...] = ("cat", "dog"), count: int = 2
) -> dict[str, bytes]:
    """SPLIT/CLASS/IMAGE, or CLASS/IMAGE for the split ''; {name below the directory: its bytes}."""
    places = [
        f"{split}/{name}/{i}.jpg".removeprefix("/")
        for split in splits
        for name in names
        for i in range(count)
    ]
    images = {place: encoded(i) for i, place in enumerate(places)}
    unpacked(directory, images)
    return images
