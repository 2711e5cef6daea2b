"""Arrays in files, as stages write them."""

import subprocess
import sys

import numpy as np
import pytest
from etils import epath

from natra_jax.stages.context import save_rows

SCRIPT = """
import numpy as np
from etils import epath
from natra_jax.stages.context import save_rows
try:
    save_rows(epath.Path({path!r}), 64, (np.zeros((1, 4096), np.uint8) for _ in range(64)))
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.parametrize("lengths", [(3,), (2, 0, 5), (0,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rows_in_chunks_are_the_file_of_the_whole_array(tmp_path, lengths, dtype):
    whole = np.arange(sum(lengths) * 6).reshape(-1, 2, 3).astype(dtype)
    ends = np.cumsum(lengths)
    save_rows(epath.Path(tmp_path / "rows.npy"), len(whole), np.split(whole, ends[:-1]))
    np.save(tmp_path / "whole.npy", whole)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_rows_that_are_no_block_of_memory_are_written_in_order(tmp_path):
    columns = np.arange(24).reshape(2, 12).T
    save_rows(epath.Path(tmp_path / "rows.npy"), 12, [columns[:5], columns[5:]])
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), columns)


def test_a_full_disk_is_an_error_that_can_be_answered(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        script = SCRIPT.format(path=str(tmp_path / "rows.npy"))
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert (done.returncode, done.stdout) == (0, "No space left on device\n"), done.stderr
