"""Keep a search from the second half of the label maps, so that what it finds can be confirmed on maps that had no part in it.

The label maps come in an order in which any first few are a fair sample of all (`selection.label_order`), and so is the rest. What half as many
images do to a Fréchet distance they do on both halves: a candidate whose own bias is small there is found for it, and confirmed with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from selection.units import Measure, Outcome, Part, Unit


@dataclass(frozen=True)
class FirstHalf:
    """A `Measure` for which the first half of the label maps is all there is."""

    measure: Measure

    @property
    def images(self) -> int:
        """How many label maps the half has."""
        return self.measure.images // 2

    @property
    def parallel(self) -> int:
        """How many units are measured at a time."""
        return self.measure.parallel

    def __call__(self, units: Sequence[Unit]) -> dict[Unit, Outcome]:
        """What comes of these units, those without a part on all of the half."""
        asked = {unit: replace(unit, part=unit.part or Part(0, self.images)) for unit in units}
        found = self.measure(list(dict.fromkeys(asked.values())))
        # To a search that knows of nothing else, all of the half is no part: its bias is nobody's business.
        return {unit: replace(found[its], unit=unit, slopes=found[its].slopes if unit.part else {}) for unit, its in asked.items() if its in found}


def second_half(images: int) -> Part:
    """What `FirstHalf` leaves of so many label maps."""
    return Part(images // 2, images)
