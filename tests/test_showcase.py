"""The three images that are proposed to be shown."""

import math
from itertools import combinations

import numpy as np
import pytest

from apfgan.errors import DataError
from apfgan.previews import captioned_column
from selection.showcase import choose


def images(seed: int, *, count: int = 12, sizes: int = 5) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    source = np.random.default_rng(seed)
    return (
        [f"map {number}" for number in range(count)],
        source.normal(5, 0.4, count),
        source.uniform(0.6, 1, count),
        source.normal(3, 1, (count, sizes)).astype(np.float32),
    )


def by_hand(stems: list[str], aesthetic: np.ndarray, accuracy: np.ndarray, features: np.ndarray) -> set[str]:
    """Every three of all images, one after the other, and every pair for the typical distance."""
    rows = [row for row in range(len(stems)) if not math.isnan(accuracy[row])]

    def distance(one: int, other: int) -> float:
        return math.dist(features[one], features[other])

    def standardised(values: np.ndarray, row: int) -> float:
        return float((values[row] - np.mean(values[rows])) / np.std(values[rows]))

    typical = math.sqrt(np.mean([distance(*pair) ** 2 for pair in combinations(rows, 2)]))

    def worth(three: tuple[int, ...]) -> float:
        quality = [standardised(aesthetic, row) + standardised(accuracy, row) for row in three]
        return sum(quality) / 3 + math.log(min(distance(*pair) for pair in combinations(three, 2)) / typical)

    return {stems[row] for row in max(combinations(rows, 3), key=worth)}


@pytest.mark.parametrize("seed", range(20))
def test_no_three_are_better(seed):
    stems, aesthetic, accuracy, features = images(seed)
    accuracy[seed % 12] = np.nan
    found = choose(stems, aesthetic, accuracy, features)
    assert {each.stem for each in found.exhibits} == by_hand(stems, aesthetic, accuracy, features)
    for each in found.exhibits:
        row = stems.index(each.stem)
        assert (each.aesthetic, each.accuracy) == (aesthetic[row], accuracy[row])
        assert each.distance > 0
    assert f"{min(each.distance for each in found.exhibits):.2f} of the typical distance" in found.reason
    # Whatever order they come in.
    order = np.random.default_rng(seed).permutation(len(stems))
    assert choose([stems[row] for row in order], aesthetic[order], accuracy[order], features[order]) == found


def test_near_duplicates_are_not_shown_together():
    """The best image again and again, hardly changed, before others that are a good deal worse."""
    for seed in range(20):
        stems, aesthetic, accuracy, features = images(seed, count=40)
        best = int(np.argmax(aesthetic + accuracy))
        copies = list(np.random.default_rng(seed).choice(np.delete(np.arange(40), best), 6, replace=False))
        aesthetic[best], accuracy[best] = aesthetic.max() + 0.3, 0.99
        aesthetic[copies], accuracy[copies] = aesthetic[best] - 1e-3, accuracy[best]
        features[copies] = features[best] + 1e-3
        shown = {each.stem for each in choose(stems, aesthetic, accuracy, features).exhibits}
        assert len(shown & {stems[row] for row in [best, *copies]}) == 1


def test_quality_counts():
    stems, aesthetic, accuracy, features = images(0, count=30)
    aesthetic[[4, 9]], accuracy[[4, 9]] = 9.0, 1.0
    aesthetic[20], accuracy[20] = 9.0, 0.0  # beautiful, and something else than was asked for
    exhibits = choose(stems, aesthetic, accuracy, features).exhibits
    assert {exhibits[0].stem, exhibits[1].stem} == {"map 4", "map 9"} and exhibits[2].stem != "map 20"


def test_only_the_pool_is_combined():
    stems, aesthetic, accuracy, features = images(1, count=400)
    best = np.argsort(-(aesthetic / aesthetic.std() + accuracy / accuracy.std()))
    features[best[10]] += 100  # very unlike the others
    in_pool, shown = ({each.stem for each in choose(stems, aesthetic, accuracy, features, pool=pool).exhibits} for pool in (10, 11))
    assert in_pool <= {stems[row] for row in best[:10]}
    assert stems[best[10]] not in in_pool
    assert len(shown) == 3


def test_images_that_are_all_alike_are_shown_in_natural_order():
    stems = ["map 10", "map 9", "map 2", "map 11"]
    same = np.full(4, 5.0)
    exhibits = choose(stems, same, same / 10, np.zeros((4, 3))).exhibits
    assert [each.stem for each in exhibits] == ["map 2", "map 9", "map 10"]
    assert {each.distance for each in exhibits} == {0.0}


def test_three_are_needed():
    stems, aesthetic, accuracy, features = images(0, count=4)
    accuracy[1] = np.nan
    assert len(choose(stems, aesthetic, accuracy, features).exhibits) == 3
    accuracy[2] = np.nan
    with pytest.raises(DataError, match="takes 3 drawings with labelled pixels, and there are 2"):
        choose(stems, aesthetic, accuracy, features)


@pytest.mark.parametrize("caption", ["1: a", "1: the name of a label map that goes on and on, aesthetic 5.00, mask 0.900"])
def test_a_caption_fits_its_column(caption):
    column = captioned_column(caption, [np.full((48, 200, 3), 60, dtype=np.uint8)] * 2)
    head = column[: len(column) - 2 * (48 + 4) - 4]
    assert head.max() > 150 and head[:, :2].max() == 0 and head[:, 198:].max() == 0
    assert (column[-4:] == 0).all() and (column[-8:-4, :200] == 60).all()
