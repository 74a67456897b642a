import numpy as np
import pytest

from apfgan.confusion import class_scores, count_confusion, image_accuracy, mask_accuracy, mean_iou
from apfgan.errors import DataError
from apfgan.labels import Classes


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(0)


def test_confusion_counts_pixels_by_given_and_seen(random) -> None:
    classes = Classes.numbered(4, ignore=255)
    given = random.choice(np.array([0, 1, 2, 3, 255], np.uint16), (3, 10, 12))
    seen = random.integers(0, 4, (3, 10, 12))
    confusion = count_confusion(given, seen, classes)
    assert confusion.dtype == np.uint32
    for row in range(3):
        for one in range(4):
            for other in range(4):
                assert confusion[row, one, other] == ((given[row] == one) & (seen[row] == other)).sum()


@pytest.mark.parametrize(("ignore", "bad"), [(None, 255), (255, 4), (None, -1)])
def test_a_class_that_does_not_exist_is_named(ignore, bad) -> None:
    given = np.zeros((2, 3, 3), np.int32)
    given[1, 2, 2] = bad
    with pytest.raises(DataError, match=rf"label map 1 .*class {bad};"):
        count_confusion(given, np.zeros((2, 3, 3), int), Classes.numbered(4, ignore=ignore))


def test_mask_accuracy_is_the_mean_of_the_images_accuracies(random) -> None:
    classes = Classes.numbered(5)
    given, seen = random.integers(0, 5, (20, 6, 7)), random.integers(0, 5, (20, 6, 7))
    per_image = (given == seen).mean(axis=(1, 2))
    estimate = mask_accuracy(count_confusion(given, seen, classes)).estimate
    assert estimate.value == pytest.approx(per_image.mean())
    assert estimate.error == pytest.approx(per_image.std(ddof=1) / np.sqrt(20))


def test_an_image_without_a_label_is_left_out(random) -> None:
    classes = Classes.numbered(3, ignore=9)
    given, seen = random.integers(0, 3, (5, 4, 4)), random.integers(0, 3, (5, 4, 4))
    given[2] = 9
    kept = np.delete(np.arange(5), 2)
    all_of_them = mask_accuracy(count_confusion(given, seen, classes))
    without = mask_accuracy(count_confusion(given[kept], seen[kept], classes))
    assert all_of_them.estimate.value == pytest.approx(without.estimate.value)
    assert all_of_them.estimate.error == pytest.approx(without.estimate.error)
    assert all_of_them.influence[2] == 0
    given[:] = 9
    with pytest.raises(DataError, match="no image has a labelled pixel"):
        mask_accuracy(count_confusion(given, seen, classes))


def some_confusion(random: np.random.Generator, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label maps, predictions that are right for most pixels of some images and fewer of others, and their confusion."""
    given = random.integers(0, 5, (images, 6, 7))
    right = random.random(given.shape) < random.uniform(0.3, 0.95, (images, 1, 1))
    seen = np.where(right, given, random.integers(0, 5, given.shape))
    return given, seen, count_confusion(given, seen, Classes.numbered(6))  # class 5 occurs nowhere


def test_classes_by_brute_force(random) -> None:
    given, seen, confusion = some_confusion(random, 12)
    scores = class_scores(confusion)
    for index in range(5):
        both, either = ((given == index) & (seen == index)).sum(), ((given == index) | (seen == index)).sum()
        assert scores.pixels[index] == (given == index).sum()
        assert scores.images[index] == (given == index).any(axis=(1, 2)).sum()
        assert scores.accuracy[index] == pytest.approx(both / (given == index).sum())
        assert scores.iou[index] == pytest.approx(both / either)
    assert np.isnan(scores.iou[5]) and np.isnan(scores.accuracy[5]) and scores.images[5] == 0
    assert mean_iou(confusion).value == pytest.approx(np.mean(scores.iou[:5]))
    assert image_accuracy(confusion) == pytest.approx((given == seen).mean(axis=(1, 2)))


def test_errors_of_pooled_quotients_are_those_of_redrawn_images(random) -> None:
    """IoU pools the pixels of all images: its error is not that of a mean of per-image values."""
    draws = [some_confusion(random, 60)[2] for _ in range(400)]
    values, errors = np.array([(mean.value, mean.estimate.error) for mean in map(mean_iou, draws)]).T
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.1)
    of_classes = np.array([class_scores(draw).accuracy[2] for draw in draws])
    influence = class_scores(draws[0]).accuracy_influence[:, 2]
    assert np.sqrt(influence @ influence) / 60 == pytest.approx(of_classes.std(ddof=1), rel=0.25)


def test_a_rare_class_is_no_surprise(random) -> None:
    """A class in one image of twelve: whether it is drawn at all is most of the noise."""

    def draw() -> np.ndarray:
        confusion = np.zeros((50, 3, 3), np.uint32)
        right = random.binomial(100, 0.9, (50, 2))
        confusion[:, [0, 1], [0, 1]], confusion[:, [0, 1], [1, 0]] = right, 100 - right
        rare = random.random(50) < 1 / 12
        found = random.binomial(60, 0.3, 50)
        confusion[:, 2, 2], confusion[:, 2, 0] = rare * found, rare * (60 - found)
        return confusion

    draws = [draw() for _ in range(400)]
    values, errors = np.array([(mean.value, mean.estimate.error) for mean in map(mean_iou, draws)]).T
    assert errors.mean() == pytest.approx(values.std(ddof=1), rel=0.15)
    derivative = [np.nanmean(class_scores(each).iou_influence, axis=1) for each in draws]
    assert np.mean([np.sqrt(pull @ pull) / 50 for pull in derivative]) < values.std(ddof=1) / 2  # what the derivative would have promised


def test_all_labels_in_one_image_have_no_error() -> None:
    confusion = np.zeros((3, 2, 2), np.uint32)
    confusion[1] = [[5, 1], [0, 3]]
    assert mean_iou(confusion).estimate.error is None


def test_influences_add_up_to_nothing(random) -> None:
    scores = class_scores(some_confusion(random, 20)[2])
    assert scores.iou_influence.sum(axis=0) == pytest.approx(np.zeros(6), abs=1e-9)
    assert scores.accuracy_influence.sum(axis=0) == pytest.approx(np.zeros(6), abs=1e-9)
    assert mean_iou(some_confusion(random, 20)[2]).influence.sum() == pytest.approx(0, abs=1e-9)


def test_without_a_label_there_is_no_iou() -> None:
    with pytest.raises(DataError, match="no image has a labelled pixel"):
        mean_iou(np.zeros((3, 4, 4), np.uint32))
