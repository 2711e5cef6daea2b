"""CelebA, aligned and cropped, in the publisher's files.

These are 202,599 faces of 10,177 people with 40 attributes each. The source holds
img_align_celeba.zip (or the unpacked img_align_celeba/, if there is no zip), list_attr_celeba.txt,
list_eval_partition.txt and, if identities are wanted, identity_CelebA.txt; or its subdirectories
Img/, Anno/ and Eval/ do. The tables may be Kaggle's, such as list_attr_celeba.csv.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from natra_jax.data.importing import containers, faces
from natra_jax.data.importing.dataset import (
    DataSet,
    Entries,
    Entry,
    difference_note,
    require_agreement,
)

_IMAGES = ("img_align_celeba.zip", "img_align_celeba")
_PUBLISHED = {"train": 162_770, "validation": 19_867, "test": 19_962}


@contextlib.contextmanager
def opened(source: Path) -> Iterator[DataSet]:
    """Open CelebA, its images as they are.

    Its features are filename, attributes {name: bool} and identity (-1 where no file tells it).
    Raise UserError for what is missing, disagrees or is damaged.
    """
    places = faces.directories(source)

    def found(*names: str) -> Path:
        return containers.require(
            source,
            containers.look(places, names),
            f"{' or '.join(names)} (nor do its Anno/, Eval/ and Img/)",
            faces.PUBLISHER,
        )

    images_path = found(*_IMAGES)
    attributes_path = found(*faces.names(faces.ATTRIBUTES))
    partition_path = found(*faces.names(faces.PARTITION))
    attributes, partition = faces.attributes(attributes_path), faces.partition(partition_path)
    identity_path = containers.look(places, faces.names(faces.IDENTITY))
    identities = None if identity_path is None else faces.identities(identity_path)
    with containers.opened(images_path) as container:
        images = containers.by_basename(container, (".jpg",))
        for table_path, table in (
            (partition_path, partition),
            (attributes_path, attributes.rows),
            (identity_path, identities),
        ):
            if table is not None:
                require_agreement(table_path, table, images_path, images)

        def entry(image: str) -> Entry:
            facts = {
                "filename": image,
                "attributes": attributes.of(image),
                "identity": -1 if identities is None else identities[image],
            }
            return Entry(images[image], facts, container.members[images[image]])

        by_split = {
            name: sorted(image for image, number in partition.items() if number == i)
            for i, name in enumerate(faces.SPLITS)
        }
        splits = {name: Entries(chosen, entry) for name, chosen in by_split.items() if chosen}
        features = {
            "filename": "text",
            "attributes": dict.fromkeys(attributes.names, "bool"),
            "identity": "int64",
        }
        notes = difference_note(_PUBLISHED, splits)
        if identities is None:
            notes.append(f"identity is -1 everywhere, since there is no {faces.IDENTITY}")
        yield DataSet(features, splits, lambda entry: container.read(entry.name), notes=notes)
