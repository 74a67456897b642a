"""What measuring costs: in evaluations, and in time as far as the ledger knows."""

from apfgan.progress import describe_seconds
from selection.measuring import Bench


def seconds_per_image(bench: Bench) -> float | None:
    """Of drawing and judging on this bench, by the ledger; None where nothing was measured so.

    By the oldest line of these judges, this size and this device, for that one drew its images; a later one may have found them, for other
    photos or another formula. And the oldest line stays the oldest: who goes on with a search plans as before.
    """
    drawn = (
        each.seconds / each.images
        for each in bench.run.ledger.read()
        if each.seconds > 0
        and each.device == bench.device
        and all(each.protocol[part] == bench.protocol[part] for part in ("judges", "size", "encoding"))
    )
    return next(drawn, None)


def cost_text(evaluations: float, pace: float | None) -> str:
    """So many evaluations, and the time that they take at a pace of so many seconds each, where that is known."""
    many = f"{evaluations:.1f}".removesuffix(".0") + " evaluations"
    return many if pace is None else f"{many} (about {describe_seconds(evaluations * pace)})"
