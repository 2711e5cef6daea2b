"""A data set that the memory cannot hold decoded is read whole, batch by batch."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.data.photos import pixels, write

FILES, NAMES, SIDE = 5, 1000, 256  # 1,000 names of 5 files: 197 MB decoded
SPARE = 64  # MB that the process may take beyond what it starts with

READ = """
import json, re, resource, sys
from pathlib import Path
import numpy as np
from natra_jax.data import batches, folder
from natra_jax.data.decoding import Preprocess
from natra_jax.data.encoded_images import Decoded

root, side, spare = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
listing = folder.list_classes(root)
images = Decoded(listing.files, Preprocess(side))
images.check()
arrays = {"image": images, "label": listing.label}
batches({"image": images[:2]}, 2, 0)(0), images[:2]  # what is imported and set up at first use
taken = 1024 * int(re.search(r"VmData:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
resource.setrlimit(resource.RLIMIT_DATA, (taken + spare * 2**20,) * 2)

try:
    images[:]
    at_once = "fits"
except MemoryError:
    at_once = "MemoryError"
count, sums = len(images), {}
batch_at = batches(arrays, 20, 0)
for step in range(count // 20):
    batch = batch_at(step)
    for index, label, image in zip(batch["index"], batch["label"], batch["image"], strict=True):
        sums[int(index)] = int(label), float(image.mean(dtype=np.float64))
print(json.dumps({"at_once": at_once, "sums": [sums[i] for i in range(count)]}))
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="the memory of a process is limited so on Linux alone"
)
def test_every_image_and_label_is_read_in_less_memory_than_all_of_them_take(tmp_path):
    means = []
    for i in range(FILES):
        path = write(tmp_path / f"{i}.bmp", pixels(SIDE, SIDE, seed=i))
        means.append(float(pixels(SIDE, SIDE, seed=i).mean()))
        (tmp_path / "photos" / f"class {i}").mkdir(parents=True)
        for j in range(NAMES // FILES):
            os.link(path, tmp_path / "photos" / f"class {i}" / f"{j}.bmp")
    arguments = [sys.executable, "-c", READ, str(tmp_path / "photos"), str(SIDE), str(SPARE)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert read["at_once"] == "MemoryError"
    assert NAMES * SIDE * SIDE * 3 > 2 * SPARE * 2**20
    labels, found = np.transpose(read["sums"])
    np.testing.assert_array_equal(labels, np.repeat(np.arange(FILES), NAMES // FILES))
    np.testing.assert_allclose(found, np.repeat(means, NAMES // FILES), atol=1e-4)
