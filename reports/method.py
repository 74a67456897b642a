"""How the numbers came about: the total with this run's weights and numbers, what each metric is and whose definition that is, how sure a difference
is, and what may be compared with what.
"""

from dataclasses import dataclass

from apfgan.composite import Formula, contributions, scores_of
from apfgan.noise import CONFIDENCE
from apfgan.ranking import is_distance, parts_of, protocol_of
from apfgan.records import DISTANCE_CLIP
from reports.board import Board, Row, metric_title
from reports.decision import formula_of
from reports.formats import listed

_FRECHET = "|μ − μᵣ|² + tr(S + Sᵣ − 2 (S Sᵣ)^½)"
_HEUSEL = "Heusel et al. 2017, eq. 6; Dowson & Landau 1982"
_KYNKAANNIEMI = "Kynkäänniemi et al. 2019, eq. 1 and 2"

_NOISE = (
    "A standard error says how much a number would scatter over other label maps of the same kind. It follows from each image's influence on the "
    "number: what the number moves by as that image counts a little more.",
    f"An interval is the number ± 1.96 standard errors ({100 * CONFIDENCE:.0f} %). It does not hold the noise of training again, which only other "
    "trainings show.",
    "Two candidates draw the same label maps, so they are compared image by image: what is hard for both cancels out.",
    "A difference is called clear where it stays so with all pairs of candidates looked at together (Holm 1979): the best was found by looking.",
)

_NOISE_OF_TABLES = (
    "A standard error is what a table says; where none does, the standard deviation over seeds stands for it: how much a number would scatter over "
    "other seeds, not over other label maps.",
    f"An interval is the number ± 1.96 standard errors ({100 * CONFIDENCE:.0f} %).",
    "Nothing is known of single images, so the errors of two candidates are taken as independent.",
    "A difference is called clear where it stays so with all pairs of candidates looked at together (Holm 1979): the best was found by looking.",
)


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What a metric is."""

    title: str
    formula: str
    """In plain characters; empty where words say it all."""
    text: str
    source: str
    """Whose definition it is; empty where it is this program's own."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """How the numbers came about."""

    total: str
    """The formula of the total with the run's weights; empty where the protocol does not name it."""
    worked: str
    """The same with the numbers of the choice."""
    clipping: str
    """What the total makes of a large distance."""
    definitions: tuple[Definition, ...]
    noise: tuple[str, ...]
    """How errors, intervals and comparisons are made."""
    comparable: tuple[str, ...]
    """What these numbers may be compared with."""
    incomparable: tuple[str, ...]
    """And with what not."""


def method_of(board: Board) -> Method | None:
    """The method behind a board; None where nothing is measured."""
    choice = board.choice
    if choice is None:
        return None
    formula = formula_of(choice.measurement)
    distance = next(filter(is_distance, board.metrics), None)
    title = metric_title(distance) if distance else "distance"
    return Method(
        total=_total(formula, title) if formula else "",
        worked=_worked(formula, choice) if formula else "",
        clipping=f"A {title} above {DISTANCE_CLIP:g} counts as {DISTANCE_CLIP:g}." if formula and formula.closeness else "",
        definitions=tuple(_definition(name) for name in (*board.metrics, *board.checks)),
        noise=_NOISE_OF_TABLES if board.of_tables else _NOISE,
        comparable=_comparable(board),
        incomparable=_incomparable(board, title),
    )


def _total(formula: Formula, distance: str) -> str:
    """`mask accuracy × (0.5 × aesthetic / 10 + 0.5 × (100 − FID) / 100)`, of what has a weight."""
    terms = {
        "aesthetic": "aesthetic / 10",
        "closeness": f"(100 − {distance}) / 100",
        "style": "(style similarity + 1) / 2",
        "votes": "votes won",
    }
    weighed = [f"{getattr(formula, name):g} × {text}" for name, text in terms.items() if getattr(formula, name)]
    return f"total = mask accuracy × ({' + '.join(weighed)})"


def _worked(formula: Formula, row: Row) -> str:
    """The same with a row's numbers: `0.4521 × (0.3914 + 0.3667) = 0.3427`; empty where one of them is missing."""
    metrics = row.measurement.metrics
    distance = next(filter(is_distance, parts_of(metrics)), None)
    if distance is None or not {"mask_accuracy", "aesthetic"} <= metrics.keys():
        return ""
    values = {name: each.value for name, each in scores_of(metrics, distance=distance).items()}
    accuracy = values["mask_accuracy"]
    if not accuracy:
        return ""
    terms = [part / accuracy for part in contributions(formula, **values).values()]
    return f"{row.name}: {accuracy:.4f} × ({' + '.join(f'{term:.4f}' for term in terms)}) = {row.score.value:.4f}"


def _definition(name: str) -> Definition:
    """What a metric is, by its name: a distance and its relatives carry the judge's name behind a hyphen."""
    kind = "distance" if is_distance(name) and not name.startswith("kid") else name.partition("-")[0]
    formula, text, source = _DEFINITIONS.get(kind, ("", "Measured elsewhere: this program does not know its definition.", ""))
    if name == "fid-clean":
        text += " Images are resized by clean-fid's filter (Parmar et al. 2022)."
    elif kind == "distance" and name.endswith("-embedded"):
        text = (
            f"{text} The features are those of a judge that was fitted on this run's training pairs, and the distance is given in percent of the "
            "photos' spread: 100 is what showing one mean picture would get. It is no FID."
        )
    elif kind == "distance" and name != "fid":
        text += f" The features are those of another network ({name.partition('-')[2]}): a check, on which nothing is optimised."
    return Definition(title=metric_title(name), formula=formula, text=text, source=source)


_DEFINITIONS = {
    "mask_accuracy": (
        "",
        "The share of an image's pixels in which the mask judge finds the class that was asked for; the mean over images. Pixels without a class are "
        "not counted.",
        "the contest's definition",
    ),
    "aesthetic": ("", "The aesthetic judge's score of an image, 0 to 10; the mean over images.", "the contest's definition"),
    "distance": (
        _FRECHET,
        "The Fréchet distance between the features of the images (mean μ, covariance S) and of the photos (μᵣ, Sᵣ), as if both were normally "
        "distributed. It is larger for fewer images.",
        _HEUSEL,
    ),
    "kid": (
        "mean k(x, x′) + mean k(y, y′) − 2 mean k(x, y), with k(x, y) = (x·y / D + 1)³",
        "The kernel distance between the same features, x of images and y of photos, over all pairs of different ones. It has no bias, and so may "
        "fall below 0 by chance.",
        "Bińkowski et al. 2018, section 4",
    ),
    "precision": ("", "The share of images that lie within reach of a photo: no further than its third nearest neighbour.", _KYNKAANNIEMI),
    "recall": ("", "The share of photos that lie within reach of an image, in the same way: is everything drawn that there is?", _KYNKAANNIEMI),
    "mean_iou": (
        "",
        "Over classes, the mean of the pixels both given and found, over those given or found; of all images together.",
        "Everingham et al. 2010",
    ),
}
"""By kind of metric: its formula, what it is, and whose definition that is."""


def _comparable(board: Board) -> tuple[str, ...]:
    assert board.choice is not None
    told = [f"All rows of the leaderboard with one another: they have protocol {protocol_of(board.choice.measurement)}."]
    if not board.embedded and not board.of_tables:
        told.append("Numbers of other runs of the same protocol: the same judges, label maps, photos, sizes and encoder, by their hashes.")
    return tuple(told)


def _incomparable(board: Board, distance: str) -> tuple[str, ...]:
    assert board.choice is not None
    told = []
    if board.embedded:
        told.append("The numbers of any other run, paper or leaderboard: these judges were fitted on this run's own training pairs.")
    images = board.choice.measurement.images
    number = f"another number of images than {images}" if images else "another number of images"
    told.append(f"A {distance} of {number}, of other photos, or by another tool's resizing.")
    told.append("A score on which a seed or a merge was chosen, with one that nothing was chosen by: the first owes something to luck.")
    if board.excluded:
        told.append(f"{listed([group.protocol_id for group in board.excluded], most=6)}: other protocols in this run's ledger.")
    return tuple(told)
