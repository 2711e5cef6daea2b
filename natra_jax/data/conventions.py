"""How others name the splits of a data set, and what operating systems leave in folders."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val_iid": ("validation", "valid", "val", "dev"),
    "test_iid": ("test", "testing"),
}
"""{our split: what others call it, the usual name first}"""

# beside all that begins with a dot
_LEFT_BY_SYSTEMS = (
    *("__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information"),
    *("Thumbs.db", "desktop.ini"),
    *("@eaDir", "#recycle", "#snapshot", "@Recycle"),  # of network storage
)


def split_of(name: str) -> str | None:
    """Return our name of the split that others call so, in any case of letters; None for none."""
    return next((split for split, names in SPLIT_NAMES.items() if name.lower() in names), None)


def find_splits(names: Iterable[str]) -> dict[str, str]:
    """Return {our split: its name among the names}; of several, the most usual."""
    by_name = {name.lower(): name for name in names}
    found = {
        split: [by_name[name] for name in usual if name in by_name]
        for split, usual in SPLIT_NAMES.items()
    }
    return {split: known[0] for split, known in found.items() if known}


def class_name(folder: str) -> str:
    """Return the class that a folder is of: macOS splits accents from letters, others do not."""
    return unicodedata.normalize("NFC", folder)


def is_left_by_systems(name: str) -> bool:
    """Return whether a file or folder of that name is hidden, or a system's and no user's."""
    return name.startswith(".") or name in _LEFT_BY_SYSTEMS
