"""Running a search within a budget, on numbers that are made up."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from apfgan.candidates import Candidate
from apfgan.ranking import Entry
from apfgan.records import Estimate
from selection.driving import Budget, drive, spent
from selection.units import Outcome, Outcomes, Part, Search, Unit


def unit(name: str, stop: int | None = None, start: int = 0) -> Unit:
    return Unit(Candidate.parse(name), None if stop is None else Part(start, stop))


@dataclass
class Table:
    """Knows every candidate but those that fail; remembers what it was asked for."""

    images: int = 100
    parallel: int = 1
    fails: frozenset[str] = frozenset()
    asked: list[list[Unit]] = field(default_factory=list)

    def __call__(self, units: Sequence[Unit]) -> Outcomes:
        self.asked.append(list(units))
        return {each: self.outcome(each) for each in units if str(each.candidate) not in self.fails}

    def outcome(self, each: Unit) -> Outcome:
        images = each.part.count if each.part else self.images
        return Outcome(each, Entry(str(each.candidate), {"composite": Estimate(0.5)}), seconds=images / 10)


def ask(*batches: list[Unit], seen: list[Outcomes] | None = None) -> Search:
    for batch in batches:
        answers = yield batch
        if seen is not None:
            seen.append(answers)


def test_a_search_gets_what_it_asked_for_and_nothing_is_measured_twice():
    table, seen = Table(), []
    found = drive(ask([unit("1"), unit("2")], [unit("2"), unit("3"), unit("3")], [unit("1")], seen=seen), table)
    assert [list(map(str, (each.candidate for each in batch))) for batch in table.asked] == [["1", "2"], ["3"]]
    assert [set(answers) for answers in seen] == [{unit("1"), unit("2")}, {unit("2"), unit("3")}, {unit("1")}]
    assert list(found) == [unit("1"), unit("2"), unit("3")]


def test_what_fails_is_missing_and_not_tried_again():
    table, seen = Table(fails=frozenset("2")), []
    found = drive(ask([unit("1"), unit("2")], [unit("2")], [unit("2"), unit("3")], seen=seen), table)
    assert [set(answers) for answers in seen] == [{unit("1")}, set(), {unit("3")}]
    assert set(found) == {unit("1"), unit("3")} and sum(map(len, table.asked)) == 3


def test_a_search_that_wants_nothing_ends():
    assert drive(ask(), Table()) == {} and drive(ask([]), Table()) == {}


@pytest.mark.parametrize("evaluations, names", [(0, []), (1, ["1"]), (2.5, ["1", "2"]), (3, ["1", "2", "3"]), (99, ["1", "2", "3", "4", "5"])])
def test_a_budget_in_evaluations_ends_it(evaluations, names):
    found = drive(ask([unit("1"), unit("2"), unit("3")], [unit("4"), unit("5")]), Table(), budget=Budget(evaluations=evaluations))
    assert [str(each.candidate) for each in found] == names


def test_images_are_paid_for_once():
    found = drive(ask([unit("1", 30)], [unit("1", 50)], [unit("1")], [unit("2", 100, 50)], [unit("2", 60)]), Table(), budget=Budget(evaluations=2))
    assert len(found) == 5 and spent(found, 100) == 2


def test_a_budget_in_time_counts_what_was_measured():
    batch = [unit(str(number)) for number in range(1, 9)]  # 10 seconds each
    assert len(drive(ask(batch), Table(), budget=Budget(seconds=25))) == 3
    assert len(drive(ask(batch), Table(parallel=4), budget=Budget(seconds=15))) == 8
    assert len(drive(ask(batch), Table(parallel=4), budget=Budget(seconds=10))) == 4


def test_a_search_that_is_ended_can_clean_up():
    ended = []

    def search() -> Search:
        try:
            yield [unit("1"), unit("2")]
        finally:
            ended.append(True)

    drive(search(), Table(), budget=Budget(evaluations=1))
    assert ended == [True]
