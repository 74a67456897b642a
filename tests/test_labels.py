import numpy as np
import pytest

from apfgan.errors import UsageError
from apfgan.labels import LANDSCAPE_CLASSES, Classes


def test_landscape_classes_are_those_of_the_contest():
    assert len(LANDSCAPE_CLASSES) == len(set(LANDSCAPE_CLASSES)) == 29
    assert [LANDSCAPE_CLASSES.index(name) for name in ("mountain", "sky", "rock", "grass", "waterfall", "lake", "railing", "ship", "other")] == [
        *(0, 1, 4, 12, 16, 20, 24, 26, 28)
    ]


@pytest.mark.parametrize("classes", [Classes(), Classes.numbered(182, ignore=255), Classes.numbered(300)])
def test_every_class_has_a_colour_of_its_own(classes):
    colours = classes.colours
    assert colours.dtype == np.uint8 and colours.shape == (len(classes), 3)
    assert len({tuple(colour) for colour in colours.tolist()} | {(0, 0, 0)}) == len(classes) + 1


@pytest.mark.parametrize(("classes", "ignore"), [(Classes(ignore=255), 255), (Classes.numbered(300, ignore=65535), 65535)])
def test_painting(classes, ignore):
    label_map = np.array([[0, 1, ignore], [len(classes) - 1, 2, 1]], dtype=np.uint16)
    picture = classes.paint(label_map)
    assert picture.dtype == np.uint8 and picture.shape == (2, 3, 3)
    for place, value in np.ndenumerate(label_map):
        assert picture[place].tolist() == ([0, 0, 0] if value == ignore else classes.colours[value].tolist())


@pytest.mark.parametrize(
    ("names", "ignore", "message"),
    [
        ((), None, "at least one class"),
        (("a", "b", "a"), None, "'a'"),
        (("a", "b"), 1, "also the id of class 'b'"),
        (("a", "b"), -1, "no pixel value"),
        (("a", "b"), 65536, "no pixel value"),
    ],
)
def test_classes_that_cannot_be(names, ignore, message):
    with pytest.raises(UsageError, match=message):
        Classes(names=names, ignore=ignore)


def test_ignore_value_right_behind_the_classes_is_fine():
    assert Classes(names=("a", "b"), ignore=2).ignore == 2
