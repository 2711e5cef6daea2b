"""Anybody's checkpoint as plain arrays, whatever its format.

    checkpoint = read("ffhq.pkl")
    checkpoint.tensors  # {name: array} of all networks in it; of dicts in dicts, joined by dots
    checkpoint.config  # the constructor arguments that the file carries, or None

The format is told from what a file holds and never from its name. Nothing in a file is run.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Callable
from pathlib import Path

from natra_jax import shortage
from natra_jax.files import open_file, remedy
from natra_jax.printable import reason, shown
from natra_jax.types import UserError
from natra_jax.weights.formats import (
    huggingface,
    npz,
    numpy_pickle,
    nvidia_tensorflow,
    nvidia_torch,
    safetensors,
    state_dict,
    torch_save,
)
from natra_jax.weights.formats.bounded import Bounded, require_plausible
from natra_jax.weights.formats.pickle_origin import origin
from natra_jax.weights.tensors import Checkpoint

_HEAD = 512  # bytes that tell the format
_MOST_BYTES = 2**38  # of a file of weights: to read more takes hours
_KNOWN = (
    "known are PyTorch's .pt and .pth, NVIDIA's .pkl, .npz, .safetensors and Hugging Face folders"
)
# What is often found in a checkpoint's place: a pattern of its first bytes, what it is, what to do.
_OTHERS = (
    (
        rb"version https://git-lfs",
        "a git-LFS pointer, not the checkpoint itself",
        "run `git lfs pull` where it lies, or download it again",
    ),
    (
        rb"(?i)\s*<(!doctype|html|head|body|!--)",
        "a web page",
        "the download gave a page in place of the file: download the file itself",
    ),
    (
        rb"\s*<",
        "a text in XML or HTML",
        "the download gave a message in place of the file: download the file itself",
    ),
    (
        rb"\s*[{\[]",
        "a JSON text, no weights",
        "give the file of the weights, or the folder that has both",
    ),
    (
        rb"[\t\n\r\x20-\x7e]+\Z",
        "a text",
        "the download may have given a message in place of the file: read it, and download the "
        "file itself",
    ),
    (rb"\x89HDF\r\n", "an HDF5 file, as Keras saves", "save its arrays by name in an .npz"),
    (
        rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd",
        "a packed file",
        "unpack it and give what was in it",
    ),
    (rb".{257}ustar", "a tar archive", "unpack it and give what was in it"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8", "an image", "give the checkpoint's file"),
)


def read(path: str | os.PathLike) -> Checkpoint:
    """Read the tensors and the configuration of the checkpoint at path.

    path: a file, or a Hugging Face folder. Formats: torch.save's, zipped or from before PyTorch
    1.6; NVIDIA's pickles of PyTorch and of TensorFlow networks; .npz; .safetensors; folders of
    config.json and weights.

    Raises UserError, one line that begins with the path, if nothing can be read there, if it is
    none of these, or if it is damaged or malicious.
    """
    name = os.fspath(path)
    try:
        if "://" in name:
            raise UserError(f"{name}: is not on this machine: copy it here first")
        path = Path(name).expanduser()
        return huggingface.read(path, read_file) if path.is_dir() else read_file(path)
    except UserError as error:
        message = " ".join(str(error).split())
        if not message.startswith((name, str(path))):
            message = f"{name}: {message}"
        raise UserError(message) from error
    except OSError as error:
        raise UserError(
            f"{name}: cannot be read ({error.strerror or error}): "
            + remedy(error, "check that it is there and that you may read it")
        ) from error
    except MemoryError as error:
        raise UserError(
            f"{name}: needs more memory than there is: read it on a larger machine"
        ) from error
    except Exception as error:
        # whatever a library under the readers raises for what it does not expect
        shortage.require_none(error, name)
        raise UserError(
            f"{name}: cannot be read ({type(error).__name__}: {reason(error, 100)})"
        ) from error


def read_file(path: Path) -> Checkpoint:
    """Read a file as `read` does, but no folder. Raises OSError, too."""
    with open_file(path) as opened:
        size = os.fstat(opened.fileno()).st_size
        checkpoint = _read(Bounded(opened), path)
    if not checkpoint.tensors:
        raise UserError(f"{path}: holds no tensors: give a checkpoint with weights")
    # many tensors can be views of the same few values, and small types become float32
    total = sum(max(array.nbytes, 4 * array.size) for array in checkpoint.tensors.values())
    require_plausible(total, size, path)
    for name in checkpoint.tensors:
        if not (isinstance(name, str) and name.isprintable() and 0 < len(name) <= 500):
            raise UserError(
                f"{path}: names a tensor {shown(name)}, which no network does: it is damaged or "
                "was tampered with"
            )
    return checkpoint


def require_known(path: Path) -> None:
    """Raise UserError for a file that by its size and first bytes can be no checkpoint.

    No more of it is read. Raises OSError, too.
    """
    with open_file(path) as opened:
        if (size := os.fstat(opened.fileno()).st_size) > _MOST_BYTES:
            raise UserError(f"{path}: has {size} bytes, more than any weights that are read here")
        _reader(opened.read(_HEAD), path)


def _read(file: Bounded, path: Path) -> Checkpoint:
    """Read a file by the reader that its first bytes call for."""
    head = file.read(_HEAD)
    file.seek(0)
    return _reader(head, path)(file, path)


def _reader(head: bytes, path: Path) -> Callable[[Bounded, Path], Checkpoint]:
    """Return the reader that a file's first bytes call for; raise UserError where there is none."""
    if not head:
        raise UserError(f"{path}: is empty: get it again")
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _read_zip
    if head[0] == 0x80 and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return _read_pickle
    if head[4:9] == b"\0\0\0\0{":  # the header, behind eight bytes of its length
        return safetensors.read
    if head.startswith(b"\x93NUMPY"):
        return numpy_pickle.read_npy
    for magic, what, advice in _OTHERS:
        if re.match(magic, head.removeprefix(codecs.BOM_UTF8), re.DOTALL):
            raise UserError(f"{path}: is {what}: {advice}")
    raise UserError(f"{path}: is of no format known here, or damaged at its start: {_KNOWN}")


def _read_zip(file: Bounded, path: Path) -> Checkpoint:
    archive = npz.open_zip(file, path)
    names = archive.namelist()
    if any(re.fullmatch(r"([^/]*/)?data\.pkl", name) for name in names):
        file.seek(0)
        return state_dict.flatten(torch_save.read_zip(file, path), path)
    if npz.is_npz(archive):
        return npz.read(file, path)
    held = f"holds {shown(names[0])}" if names else "holds nothing"
    raise UserError(
        f"{path}: is a zip archive of neither PyTorch nor NumPy ({held}): unpack it and give the "
        "checkpoint in it"
    )


def _read_pickle(file: Bounded, path: Path) -> Checkpoint:
    found, names = origin(file)
    file.seek(0)
    match found:
        case "legacy":
            return state_dict.flatten(torch_save.read_legacy(file, path), path)
        case "pytorch":
            return nvidia_torch.read(file, path)
        case "tensorflow":
            return nvidia_tensorflow.read(file, path)
    if any(name.startswith(numpy_pickle.NAMES) for name in names):
        return numpy_pickle.read_pickle(file, path)
    named = f"names {', '.join(map(shown, names[:3]))}" if names else "names no class at all"
    raise UserError(f"{path}: is a pickle of no network known here ({named}), or damaged: {_KNOWN}")
