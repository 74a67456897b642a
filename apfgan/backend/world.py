"""The place of a process among those that train one network together."""

from dataclasses import dataclass

from apfgan.errors import UsageError


@dataclass(frozen=True, slots=True)
class World:
    """The place of this process among those that train together."""

    rank: int
    """Its number, from 0. Process 0 writes and speaks for all."""
    size: int
    """How many there are."""
    local_rank: int
    """Its number on its machine: which GPU it takes."""

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def rows(self, images: int) -> slice:
        """Which of a batch's `images` this process computes; raises `UsageError` when they cannot be shared equally."""
        if images % self.size:
            raise UsageError(
                f"a batch of {images} cannot be shared equally by {self.size} processes: make train.progressive_batch and train.batch multiples of "
                f"{self.size}, not larger than the number of training pairs, or start fewer processes"
            )
        share = images // self.size
        return slice(self.rank * share, (self.rank + 1) * share)


ALONE = World(rank=0, size=1, local_rank=0)
"""One process, which needs no other."""
