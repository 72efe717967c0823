import pytest
import torch

from sgmim.data.labels import within
from sgmim.errors import DataError


class Labels:
    """Two images with a class in every pixel; the second has one of number 11."""

    names, has, notes = ["one", "two"], {"image", "classes"}, {}

    def __len__(self):
        return 2

    def read(self, index, needs=None):
        classes = torch.full((1, 4, 4), 3.0)
        classes[0, 0, 0] = (torch.nan, 11.0)[index]
        sample = {"image": torch.zeros(3, 4, 4, dtype=torch.uint8), "classes": classes}
        return {name: sample[name] for name in needs or self.has}


def test_a_class_that_there_is_not_is_named_with_its_file():
    source = within(Labels(), {"classes": 11})
    assert source.read(0)["classes"][0, 1, 1] == 3
    with pytest.raises(DataError, match=r"two has the number 11 in its classes, but of 11 classes"):
        source.read(1)
    assert set(source.read(1, {"image"})) == {"image"}


def test_what_is_not_labeled_and_what_is_known_pass():
    source = within(Labels(), {"classes": 12})
    assert [len(source.read(index)) for index in range(len(source))] == [2, 2]
    assert source.names == Labels.names and source.has == Labels.has


def test_a_task_without_classes_reads_its_source_as_it_is():
    source = Labels()
    assert within(source, {}) is source
