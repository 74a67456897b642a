"""What differs between the arrays that a network needs and those that are there, in words."""

from collections.abc import Iterator, Mapping, Sequence

_NAMES_SHOWN = 6


def mismatches(expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Up to three clauses, on what is missing, left over and of another shape, each with the first few names; none if all fits."""
    if missing := [name for name in expected if name not in found]:
        yield f"missing {some(missing)}"
    if extra := [name for name in found if name not in expected]:
        yield f"not expected {some(extra)}"
    if other := [f"{name} {found[name]} instead of {shape}" for name, shape in expected.items() if found.get(name, shape) != shape]:
        yield f"of another shape {some(other)}"


def some(names: Sequence[str]) -> str:
    """The first few of `names`, and how many more there are."""
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown} and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else shown
