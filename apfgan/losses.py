"""What generator and discriminators minimise (spec: method, 6).

`seen` is what `Discriminators` return: for each of K roles the features of its layers and, last, the prediction.
"""

from collections.abc import Sequence

from apfgan.backend import Tensor, absolute, detach, mean, relu

Seen = Sequence[Sequence[Tensor]]


def adversarial(fake: Seen) -> Tensor:
    """The generator's hinge loss: minus the mean prediction, averaged over the roles."""
    return -_average([mean(features[-1], axes=None) for features in fake])


def hinge_fake(fake: Seen) -> Tensor:
    """The discriminators' loss on generated images: max(0, 1 + prediction)."""
    return _average([mean(relu(1 + features[-1]), axes=None) for features in fake])


def hinge_real(real: Seen) -> Tensor:
    """The discriminators' loss on photos: max(0, 1 - prediction)."""
    return _average([mean(relu(1 - features[-1]), axes=None) for features in real])


def feature_matching(fake: Seen, real: Seen) -> Tensor:
    """Mean absolute difference of the features, summed over layers and averaged over the roles (Wang et al. 2018, eq. 4)."""
    return _average(
        [_sum([_distance(one, other) for one, other in zip(ours[:-1], theirs[:-1], strict=True)]) for ours, theirs in zip(fake, real, strict=True)]
    )


def perceptual(fake: Sequence[Tensor], real: Sequence[Tensor], *, weights: Sequence[float]) -> Tensor:
    """Weighted mean absolute difference of a network's features (Johnson et al. 2016)."""
    return _sum([weight * _distance(one, other) for weight, one, other in zip(weights, fake, real, strict=True)])


def _distance(fake: Tensor, real: Tensor) -> Tensor:
    """No gradient flows into the photo's side."""
    return mean(absolute(fake - detach(real)), axes=None)


def _average(values: Sequence[Tensor]) -> Tensor:
    return _sum(values) / len(values)


def _sum(values: Sequence[Tensor]) -> Tensor:
    total, *others = values
    for value in others:
        total = total + value
    return total
