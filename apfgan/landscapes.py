"""Painted landscapes with exact label maps: a data set of all 29 classes, in the real layout, for demos and tests.

Each scene is painted from back to front on a `_Scene`: sky, ridges, ground or water, then what stands on them. Whatever paints the photo
also writes the class into the label map, so the two agree to the pixel. x and y are fractions of the image, (0, 0) is its upper left corner.
A scene follows from its seed and index alone.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from apfgan.errors import UsageError
from apfgan.files import write_bytes, write_json
from apfgan.images import encode_jpeg, encode_png
from apfgan.labels import LANDSCAPE_CLASSES
from apfgan.progress import SILENT, Progress

_ID = {name: index for index, name in enumerate(LANDSCAPE_CLASSES)}
_VERSION = 1
"""Counts up whenever the same seed paints something else."""

_Colour = Sequence[float]
_Choice = TypeVar("_Choice")


@dataclass(frozen=True, slots=True)
class _Light:
    """The light of a time of day; colours are RGB, 0..255, `sun` is a factor on every colour it falls on."""

    zenith: _Colour
    horizon: _Colour
    sun: _Colour
    haze: _Colour


_LIGHTS: tuple[tuple[float, _Light], ...] = (
    (0.30, _Light((48, 108, 190), (176, 211, 238), (1.02, 1.0, 0.95), (186, 208, 228))),  # noon
    (0.18, _Light((92, 148, 208), (240, 226, 206), (1.04, 0.95, 0.84), (220, 214, 206))),  # morning
    (0.14, _Light((78, 104, 166), (255, 188, 112), (1.08, 0.84, 0.60), (236, 186, 142))),  # golden hour
    (0.10, _Light((44, 42, 92), (238, 118, 88), (0.66, 0.50, 0.52), (158, 102, 112))),  # dusk
    (0.15, _Light((140, 150, 162), (204, 209, 213), (0.80, 0.82, 0.84), (190, 196, 201))),  # overcast
    (0.08, _Light((74, 84, 98), (162, 168, 172), (0.62, 0.65, 0.67), (144, 151, 157))),  # storm
    (0.05, _Light((16, 28, 70), (112, 122, 164), (0.40, 0.44, 0.60), (82, 94, 134))),  # blue hour
)

_MATERIALS: dict[str, tuple[_Colour, _Colour]] = {
    "mountain": ((62, 60, 66), (148, 140, 134)),
    "rock": ((48, 44, 44), (150, 142, 136)),
    "tree": ((14, 34, 18), (74, 108, 46)),
    "earth": ((74, 48, 32), (150, 108, 74)),
    "hill": ((46, 66, 36), (122, 136, 78)),
    "sand": ((176, 150, 108), (236, 216, 172)),
    "land": ((92, 82, 52), (164, 146, 98)),
    "building": ((108, 92, 84), (196, 184, 170)),
    "grass": ((44, 84, 24), (136, 172, 62)),
    "plant": ((20, 66, 22), (112, 160, 44)),
    "person": ((36, 34, 48), (70, 66, 84)),
    "boat": ((70, 40, 28), (214, 206, 194)),
    "wall": ((98, 90, 80), (186, 176, 158)),
    "pier": ((66, 52, 40), (146, 122, 96)),
    "path": ((140, 116, 84), (206, 184, 146)),
    "bridge": ((86, 80, 76), (178, 168, 154)),
    "field": ((150, 128, 44), (222, 198, 96)),
    "road": ((58, 58, 62), (112, 112, 114)),
    "railing": ((40, 42, 46), (92, 94, 98)),
    "fence": ((84, 62, 42), (166, 136, 100)),
    "ship": ((36, 46, 66), (222, 224, 226)),
    "house": ((148, 120, 100), (232, 220, 200)),
    "other": ((160, 34, 40), (244, 188, 52)),
    "water": ((24, 62, 74), (96, 146, 150)),
    "sea": ((12, 58, 104), (74, 148, 178)),
    "lake": ((26, 74, 104), (110, 168, 190)),
    "river": ((44, 82, 74), (134, 166, 148)),
    "waterfall": ((150, 176, 190), (250, 252, 255)),
}
"""Each class's colour in the shade and in the light."""

_SNOW = ((150, 164, 190), (250, 252, 255))
_FOREST = ((22, 42, 26), (70, 96, 56))
_AUTUMN = ((84, 34, 12), (214, 130, 36))


def make_landscapes(out: Path, *, train: int, test: int, width: int = 512, height: int = 384, seed: int = 0, progress: Progress = SILENT) -> None:
    """Paint `train` and `test` pairs into `out`, in the real layout (photos as JPEG, label maps as 16-bit PNG).

    A contest keeps the test photos to itself; here they are in test/imgs, where the report finds them to show beside what was drawn.
    What is there already is kept, so a killed call goes on where it stopped and a larger number adds to a smaller one. Raises `UsageError`
    when `out` was painted with another size or seed.
    """
    settings = {"width": width, "height": height, "seed": seed, "version": _VERSION}
    record = out / "landscapes.json"
    if record.exists() and (old := json.loads(record.read_text())) != settings:
        raise UsageError(f"{out} holds landscapes painted with other settings ({old}, now {settings}); choose another folder, or delete this one")
    write_json(record, settings)
    with progress.task("paint landscapes", train + test, unit="scenes") as task:
        for part, count in (("train", train), ("test", test)):
            for index in range(count):
                photo_path, label_path = out / part / "imgs" / f"{part}_{index:05}.jpg", out / part / "labels" / f"{part}_{index:05}.png"
                if not (photo_path.exists() and label_path.exists()):
                    photo, label_map = paint_landscape(index, width=width, height=height, seed=seed, held_out=part == "test")
                    write_bytes(photo_path, encode_jpeg(photo, quality=95, subsampling="4:4:4"))
                    write_bytes(label_path, encode_png(label_map.astype(np.uint16)))
                task.advance()


def paint_landscape(index: int, *, width: int, height: int, seed: int, held_out: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The photo, uint8 (height, width, 3), and label map, uint8 (height, width), of scene `index`; `held_out` ones are a series of their own."""
    scene = _Scene(np.random.default_rng([seed % 2**64, index, int(held_out)]), width, height)
    scene.pick(_COMPOSITIONS)(scene)
    return scene.develop(), scene.ids


class _Scene:
    """A photo and its label map while they are painted."""

    def __init__(self, random: np.random.Generator, width: int, height: int) -> None:
        self.random, self.width, self.height = random, width, height
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None, :]
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        self.light = self.pick(_LIGHTS)
        self.sun_x = self.between(-0.1, 1.1)
        self.photo = np.zeros((height, width, 3), dtype=np.float32)
        self.ids = np.zeros((height, width), dtype=np.uint8)
        # Noise of mean 0 and deviation 1: with detail of every size; without large forms (leaves, grains); drawn out sideways (waves).
        self.rough = _fractal(random, width, height, (7, 5), octaves=6)
        self.fine = _fractal(random, width, height, (70, 52), octaves=2)
        self.ripples = _fractal(random, width, height, (10, 60), octaves=3)
        materials = _MATERIALS | ({"tree": _AUTUMN} if self.chance(0.15) else {})
        self.palette = {name: self._vary(colours) for name, colours in materials.items()}

    def between(self, low: float, high: float) -> float:
        """A number between the two, each as likely."""
        return float(self.random.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True that often."""
        return bool(self.random.random() < probability)

    def pick(self, weighted: Sequence[tuple[float, _Choice]]) -> _Choice:
        """One of the choices, in proportion to the number before it."""
        ends = np.cumsum([weight for weight, _ in weighted])
        return weighted[int(np.searchsorted(ends, self.random.random() * ends[-1], side="right"))][1]

    def paint(
        self,
        mask: np.ndarray,
        name: str,
        *,
        tone: np.ndarray | float,
        distance: float = 0.0,
        colours: tuple[_Colour, _Colour] | None = None,
        opacity: float = 1.0,
    ) -> None:
        """Give the pixels of `mask`, bool (H, W), to class `name`.

        `tone` (broadcast to (H, W)) runs from 0, the class's colour in the shade, to 1, in the light; `colours` replaces the two. `distance`
        fades into haze; an `opacity` below 1 lets what was there shine through.
        """
        mask = np.broadcast_to(mask, self.ids.shape)
        dark, pale = self._vary(colours, 0) if colours else self.palette[name]
        amount = np.clip(np.broadcast_to(np.asarray(tone, dtype=np.float32), mask.shape)[mask], -0.2, 1.25)[:, None]
        lit = (dark + (pale - dark) * amount) * np.array(self.light.sun, dtype=np.float32)
        haze = np.float32(1 - np.exp(-distance))
        lit += (np.array(self.light.haze, dtype=np.float32) - lit) * haze
        self.photo[mask] = lit if opacity == 1 else lit * np.float32(opacity) + self.photo[mask] * np.float32(1 - opacity)
        self.ids[mask] = _ID[name]

    def polygon(self, points: Sequence[tuple[float, float]]) -> np.ndarray:
        """The mask of a polygon."""
        image = Image.new("1", (self.width, self.height))
        ImageDraw.Draw(image).polygon([(x * self.width, y * self.height) for x, y in points], fill=1)
        return np.asarray(image)

    def lines(self, segments: Sequence[tuple[float, float, float, float]], thickness: float) -> np.ndarray:
        """The mask of straight lines (x0, y0, x1, y1), `thickness` a fraction of the width (at least one pixel)."""
        image = Image.new("1", (self.width, self.height))
        draw = ImageDraw.Draw(image)
        for x0, y0, x1, y1 in segments:
            ends = (x0 * self.width, y0 * self.height, x1 * self.width, y1 * self.height)
            draw.line(ends, fill=1, width=max(1, round(thickness * self.width)))
        return np.asarray(image)

    def box(self, left: float, top: float, right: float, bottom: float) -> np.ndarray:
        """The mask of an upright rectangle."""
        return (self.x >= left) & (self.x < right) & (self.y >= top) & (self.y < bottom)

    def disc(self, x: float, y: float, radius: float, *, flatness: float = 1.0) -> np.ndarray:
        """Squared distance from the middle of a disc, 1 at its edge; `radius` is a fraction of the width."""
        return ((self.x - x) / radius) ** 2 + ((self.y - y) * self.height / self.width / (radius * flatness)) ** 2

    def profile(self, cells: float, *, sharp: bool = False) -> np.ndarray:
        """A random skyline, float (1, W) within about 0..1: rolling, or `sharp` like a ridge of rock."""
        heights = np.zeros_like(self.x)
        for octave in range(6):
            knots = self.random.random(int(cells * 2**octave) + 3).astype(np.float32)
            position = np.linspace(0, len(knots) - 1, self.width)
            if not sharp:  # ease in and out between the knots
                whole = np.floor(position)
                part = position - whole
                position = whole + part * part * (3 - 2 * part)
            heights += np.interp(position, np.arange(len(knots)), knots)[None, :] * (0.55 if sharp else 0.36) ** octave
        return (heights - heights.min()) / max(float(heights.max() - heights.min()), 1e-6)

    def receding(self, field: np.ndarray, horizon: float, *, pitch: float = 0.35) -> np.ndarray:
        """`field`, (H, W), laid on the ground plane: large at the lower edge, ever finer towards `horizon`. A larger `pitch` flattens its forms."""
        near = np.clip((self.y - horizon) / max(1 - horizon, 0.05), 0, 1)
        depth = 1 / (near + 0.1)
        rows = _bounce(depth * self.height * pitch, self.height)
        # Off the middle, or the field would turn back there and show its mirror image.
        return field[rows, _bounce((self.x - 0.5) * depth * self.width * 0.4 + 0.37 * self.width, self.width)]

    def develop(self) -> np.ndarray:
        """The finished photo, uint8 (H, W, 3): edges softened as by a lens, with a little grain."""
        image = Image.fromarray(np.clip(self.photo, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.0012 * self.width))
        soft = np.asarray(image, dtype=np.float32)
        grain = self.random.standard_normal((self.height, self.width, 1), dtype=np.float32) * np.float32(2)
        return np.clip(soft + grain, 0, 255).astype(np.uint8)

    def _vary(self, colours: tuple[_Colour, _Colour], amount: float = 0.06) -> tuple[np.ndarray, np.ndarray]:
        tint = self.random.normal(1, amount, 3).astype(np.float32)
        return np.array(colours[0], dtype=np.float32) * tint, np.array(colours[1], dtype=np.float32) * tint


def _fractal(random: np.random.Generator, width: int, height: int, cells: tuple[int, int], *, octaves: int) -> np.ndarray:
    """Smooth noise, float32 (H, W), mean 0 and deviation 1: `cells` random values across and down, then twice as many at 0.6 of the strength, ..."""
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(octaves):
        columns, rows = (min(count * 2**octave, side) for count, side in zip(cells, (width, height), strict=True))
        knots = random.standard_normal((rows, columns), dtype=np.float32)
        total += np.asarray(Image.fromarray(knots).resize((width, height), Image.Resampling.BICUBIC)) * np.float32(0.6**octave)
    total -= total.mean()
    return total / max(float(total.std()), 1e-6)


def _bounce(position: np.ndarray, length: int) -> np.ndarray:
    """Indices 0..length-1 for any position, turning back at both ends: a field without seams."""
    index = position.astype(np.int32) % (2 * length)
    return np.minimum(index, 2 * length - 1 - index)


def _shifted(field: np.ndarray, right: float, down: float) -> np.ndarray:
    """`field`, (H, W), seen from another place: the same look with other forms."""
    height, width = field.shape
    return field[_bounce(np.arange(height)[:, None] + down, height), _bounce(np.arange(width)[None, :] + right, width)]


def _step(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    part = np.clip((values - low) / (high - low), 0, 1)
    return part * part * (3 - 2 * part)


# What a scene is made of. Each paints itself over what lies behind it; y grows downwards.


def _sky(scene: _Scene, horizon: float) -> None:
    light = scene.light
    fade = np.clip(scene.y / max(horizon, 0.2), 0, 1) ** 1.3
    zenith, low = np.array(light.zenith, dtype=np.float32), np.array(light.horizon, dtype=np.float32)
    sky = (zenith + (low - zenith) * fade[..., None]) * np.ones((1, scene.width, 1), dtype=np.float32)

    sun_y = horizon * scene.between(0.25, 1.0)
    glow = np.exp(-scene.disc(scene.sun_x, sun_y, 0.22))[..., None]
    sky += glow * (low - zenith) * np.float32(0.6)

    cover = scene.pick([(3, scene.between(0.9, 2.2)), (4, scene.between(-0.2, 0.9)), (1, scene.between(-1.2, -0.2))])
    density = _shifted(scene.rough, scene.width * 0.6, scene.height * 0.4)
    if scene.chance(0.6):  # a deck of clouds that recedes towards the horizon
        density = scene.receding(density, -0.35, pitch=1.2)[::-1]
    clouds = _step(density + 0.25 * scene.ripples, cover, cover + 1.6)[..., None] * np.float32(scene.between(0.6, 0.95))
    relief = np.clip((density - _shifted(density, 0, max(2, scene.height / 40))) * 0.35 + 0.6, 0, 1)[..., None]
    shade = (zenith + low) * np.float32(0.36)
    bright = np.minimum(low * np.float32(0.55) + np.array(light.sun, dtype=np.float32) * 128, 255)
    sky += clouds * (shade + (bright - shade) * relief - sky)
    scene.photo[:] = sky
    scene.ids[:] = _ID["sky"]


def _mountains(scene: _Scene, base: float, height: float, *, distance: float, snowy: bool, sharpness: float = 2.0) -> None:
    skyline = base - height * (0.15 + 0.85 * scene.profile(scene.between(1.2, sharpness + 1), sharp=True))
    mask = (scene.y > skyline) & (scene.y < base + 0.5)
    crags = _shifted(scene.rough, scene.between(0, 2 * scene.width), 0)
    # Gullies run down from the ridge: the relief is sheared along the slope and lit from the sun's side.
    lean = (scene.y - skyline) * scene.width * 0.5
    crags = crags[np.broadcast_to(np.arange(scene.height)[:, None], mask.shape), _bounce(scene.x * scene.width + lean, scene.width)]
    side = 1 if scene.sun_x > 0.5 else -1
    relief = (crags - _shifted(crags, 3 * side, 0)) * 1.1
    tone = 0.42 + 0.42 * relief + 0.08 * scene.fine
    depth = (scene.y - skyline) / max(height, 0.05)
    scene.paint(mask, "mountain", tone=tone, distance=distance)
    woods = mask & (depth + 0.12 * crags > scene.between(0.5, 0.9))
    scene.paint(woods, "mountain", tone=tone + 0.15 * scene.fine, distance=distance, colours=_FOREST)
    if snowy:
        line = base - height * scene.between(0.25, 0.7)
        scene.paint(
            mask & (scene.y + 0.05 * crags - 0.04 * relief < line), "mountain", tone=0.62 + 0.5 * relief, distance=distance * 0.6, colours=_SNOW
        )


def _hills(scene: _Scene, base: float, height: float, *, distance: float) -> None:
    skyline = base - height * scene.profile(scene.between(1, 2.5))
    tone = 0.55 + 0.2 * scene.rough + 0.16 * scene.fine - (scene.y - skyline) * 0.8
    scene.paint((scene.y > skyline) & (scene.y < base + 0.5), "hill", tone=tone, distance=distance)


def _ground(scene: _Scene, name: str, top: float, *, bumps: float = 0.02, cells: float = 2) -> None:
    """Open ground from `top` to the lower edge."""
    skyline = top - bumps * scene.profile(cells)
    texture = scene.receding(scene.fine, top - 0.05)
    patches = scene.receding(scene.rough, top - 0.05)
    tone = 0.5 + 0.17 * texture + 0.15 * patches
    if name == "field":  # rows of crop run to a vanishing point
        rows = np.sin((scene.x - scene.between(0.3, 0.7)) / (scene.y - top + 0.08) * scene.between(16, 28))
        tone = tone + 0.25 * rows
    scene.paint(scene.y > skyline, name, tone=tone)


def _cover(scene: _Scene, name: str, top: float, amount: float) -> None:
    """Patches of another ground in front of `top`."""
    patches = scene.receding(_shifted(scene.rough, 0, scene.height / 3), top - 0.12)
    mask = (patches + 0.15 * scene.fine > 2 - 3 * amount) & (scene.y > top + 0.01)
    scene.paint(mask, name, tone=0.5 + 0.2 * scene.receding(scene.fine, top - 0.05) + 0.1 * patches)


def _water(scene: _Scene, name: str, shore: float, *, mask: np.ndarray | None = None) -> None:
    """Water from `shore` to the lower edge, or where `mask` is: it mirrors what lies above it, broken by waves."""
    region = scene.y > shore
    mask = np.broadcast_to(region if mask is None else mask & region, scene.ids.shape)
    near = np.clip((scene.y - shore) / max(1 - shore, 0.05), 0, 1)
    waves = scene.receding(scene.ripples, shore - 0.06)
    calm = {"sea": 0.25, "river": 0.4, "water": 0.5, "lake": 0.72}[name] * scene.between(0.75, 1.1)
    mirrored = (2 * shore - scene.y) * scene.height + waves * near * scene.height * (0.08 - 0.05 * calm)
    rows = np.clip(mirrored, 0, max(int(shore * scene.height) - 1, 0)).astype(np.int32)
    columns = np.broadcast_to(np.arange(scene.width)[None, :], rows.shape)
    reflection = scene.photo[rows, columns] * np.float32(0.86)
    strength = np.clip(calm * (1.05 - 0.5 * near) + 0.1 * waves * near, 0, 0.92)[..., None]
    scene.paint(mask, name, tone=0.5 + 0.24 * waves * (0.35 + near) - 0.2 * near, distance=0.1)
    tinted = scene.photo + (reflection - scene.photo) * strength
    glitter = np.exp(-(((scene.x - scene.sun_x) / (0.05 + 0.1 * near)) ** 2)) * (waves > 0.5) * (0.75 - 0.4 * near)
    tinted += glitter[..., None] * np.array(scene.light.horizon, dtype=np.float32) * np.float32(0.45)
    scene.photo[mask] = tinted[mask]


def _surf(scene: _Scene, shore: float) -> None:
    """White breakers of the sea, still sea."""
    waves = scene.receding(scene.ripples, shore - 0.02)
    breakers = (
        (np.sin(np.maximum(scene.y - shore, 0) ** 0.6 * scene.between(40, 70) + 1.2 * scene.rough) > 0.75) & (waves > 0.1) & (scene.y > shore + 0.06)
    )
    scene.paint(breakers & (scene.ids == _ID["sea"]), "sea", tone=0.7 + 0.2 * waves, colours=_SNOW, opacity=0.75)


def _beach(scene: _Scene, name: str, top: float) -> None:
    """A shore that crosses the lower part of the picture, with a wet edge."""
    slope = scene.between(-0.18, 0.18)
    edge = top + slope * (scene.x - 0.5) + 0.05 * scene.profile(2)
    texture = scene.receding(scene.fine, top - 0.1)
    scene.paint(scene.y > edge, name, tone=0.62 + 0.12 * texture + 0.12 * scene.rough - 0.55 * np.exp(-(scene.y - edge) / 0.025))
    if name == "sand":
        foam = np.abs(scene.y - edge + 0.006 + 0.006 * scene.rough) < 0.005
        scene.paint(foam & (scene.y <= edge) & (scene.ids == _ID["sea"]), "sea", tone=0.9, colours=_SNOW)


def _woods(scene: _Scene, base: float, height: float, *, count: int, distance: float = 0.0, left: float = 0.0, right: float = 1.0) -> None:
    """Trees that stand side by side, needles or leaves; their feet follow `base`."""
    needles = scene.chance(0.5)
    aspect = scene.width / scene.height
    skyline = np.zeros_like(scene.x)
    gloom = np.zeros_like(scene.x)
    for _ in range(count):
        middle, tall, dark = scene.between(left, right), height * scene.between(0.5, 1), scene.between(-0.14, 0.14)
        offset = np.abs(scene.x - middle) / (tall * (0.2 if needles else 0.42) / aspect)
        crown = np.clip(1 - offset, 0, 1) if needles else np.sqrt(np.clip(1 - offset**2, 0, 1))
        higher = crown * tall > skyline
        gloom = np.where(higher, dark, gloom)
        skyline = np.maximum(skyline, crown * tall)
    if count >= 40:  # no gaps between the feet of a forest
        skyline = np.maximum(skyline, height * (0.15 + 0.2 * scene.profile(6)) * ((scene.x > left) & (scene.x < right)))
    ragged = skyline * (1 + 0.1 * scene.fine) + 0.004 * scene.rough * (skyline > 0)
    foot = base + 0.012 * scene.rough
    mask = (scene.y > base - ragged) & (scene.y < foot) & (skyline > 0.004)
    depth = (scene.y - (base - ragged)) / np.maximum(ragged, 0.02)
    scene.paint(mask, "tree", tone=0.6 + 0.24 * scene.fine + 0.12 * scene.rough + gloom - 0.5 * depth, distance=distance)


def _tree(scene: _Scene, x: float, foot: float, size: float) -> None:
    """One broad tree with its trunk and shadow."""
    aspect = scene.width / scene.height
    crown_y, radius = foot - size * 0.62, size * 0.42 / aspect
    shadow = (scene.disc(x, foot, radius * 1.1, flatness=0.18) < 1) & (scene.ids != _ID["sky"])
    scene.photo[shadow] *= np.float32(0.62)
    scene.paint(
        scene.box(x - radius * 0.08, crown_y, x + radius * 0.08, foot), "tree", tone=0.3 + 0.2 * scene.fine, colours=((40, 28, 20), (98, 74, 54))
    )
    rim = scene.disc(x, crown_y, radius, flatness=0.92)
    side = (scene.x - x) / radius * (0.25 if scene.sun_x > x else -0.25) - (scene.y - crown_y) / size * 0.6
    scene.paint(rim + 0.22 * scene.rough + 0.16 * scene.fine < 1, "tree", tone=0.5 + 0.28 * scene.fine + 0.12 * scene.rough + side)


def _rocks(scene: _Scene, y: float, size: float, count: int, *, left: float = 0.0, right: float = 1.0) -> None:
    aspect = scene.width / scene.height
    for _ in range(count):
        x, radius, foot = scene.between(left, right), size * scene.between(0.4, 1) / aspect, y + size * scene.between(-0.3, 0.3)
        rim = scene.disc(x, foot, radius, flatness=scene.between(0.5, 0.8))
        mask = (rim + 0.3 * scene.rough < 1) & (scene.y < foot + 0.25 * size)
        lit = (foot - scene.y) / size * 0.7 + (scene.x - x) / radius * (0.22 if scene.sun_x > x else -0.22)
        scene.paint(mask, "rock", tone=0.28 + lit + 0.2 * scene.fine + 0.12 * scene.rough)


def _cliff(scene: _Scene, base: float, height: float, *, side: int) -> None:
    """A wall of rock from the left (-1) or right (+1) edge."""
    reach = scene.between(0.25, 0.55)
    across = scene.x if side < 0 else 1 - scene.x
    profile = np.clip(1 - (across / reach) ** scene.between(1.5, 4), 0, 1) * (0.75 + 0.25 * scene.profile(3, sharp=True))
    mask = (scene.y > base - height * profile) & (scene.y < base + 0.005 * scene.rough) & (profile > 0.02)
    layers = np.sin(scene.y * 60 + 2.5 * scene.rough)
    scene.paint(mask, "rock", tone=0.42 + 0.16 * layers + 0.2 * (scene.rough - _shifted(scene.rough, 3 * side, 0)) * 3 + 0.1 * scene.fine)


def _waterfall(scene: _Scene, x: float, top: float, bottom: float, width: float) -> None:
    spread = width * (0.7 + 0.5 * (scene.y - top) / max(bottom - top, 0.05)) + 0.012 * scene.rough
    streaks = scene.fine[_bounce(scene.y * scene.height * 0.12, scene.height), _bounce(scene.x * scene.width * 1.0, scene.width)]
    mask = (np.abs(scene.x - x + 0.01 * np.sin(scene.y * 9)) < spread) & (scene.y > top) & (scene.y < bottom)
    scene.paint(mask, "waterfall", tone=0.65 + 0.3 * streaks)
    mist = np.exp(-scene.disc(x, bottom, width * 2.4, flatness=0.5))[..., None] * np.float32(0.65)
    scene.photo += mist * (np.array((228, 236, 240), dtype=np.float32) * np.array(scene.light.sun, dtype=np.float32) - scene.photo)


def _plants(scene: _Scene, y: float, amount: float) -> None:
    """Leaves and blossoms at the lower edge."""
    leaves = scene.fine + 0.7 * scene.rough
    mask = leaves * 0.05 + (scene.y - y) * amount > 0.03
    scene.paint(mask, "plant", tone=0.45 + 0.32 * scene.fine)
    if scene.chance(0.5):
        blossom = scene.pick(
            [(1.0, ((190, 60, 120), (250, 150, 190))), (1.0, ((210, 170, 30), (255, 236, 120))), (1.0, ((170, 160, 200), (250, 248, 255)))]
        )
        scene.paint(mask & (_shifted(scene.fine, 0, 7) > 1.9), "plant", tone=0.5 + 0.2 * scene.fine, colours=blossom)


def _band(scene: _Scene, top: float, *, width: float, winding: float) -> np.ndarray:
    """The mask of something long that runs from the lower edge to `top`, narrowing: a river, a road."""
    near = np.clip((scene.y - top) / max(1 - top, 0.05), 0, 1)
    end, start = scene.between(0.3, 0.7), scene.between(0.2, 0.8)
    bend = winding * np.sin(near**0.5 * scene.between(5, 9) + scene.between(0, 6)) * (0.15 + 0.85 * near)
    middle = end + (start - end) * near + bend
    return (np.abs(scene.x - middle) < width * (0.02 + near**1.2) + 0.004 * scene.rough * near) & (scene.y > top)


def _way(scene: _Scene, name: str, top: float) -> None:
    """A road or a path that runs towards `top`."""
    mask = _band(scene, top, width=0.2 if name == "road" else 0.11, winding=scene.between(0.02, 0.14))
    scene.paint(mask, name, tone=0.5 + 0.2 * scene.receding(scene.fine, top - 0.05) + 0.08 * scene.rough)
    if name == "road":
        across = np.cumsum(mask, axis=1) / np.maximum(mask.sum(axis=1, keepdims=True), 1)
        dashes = np.sin(6 / (scene.y - top + 0.06)) > 0
        scene.paint(mask & (np.abs(across - 0.5) < 0.018) & dashes, "road", tone=0.8, colours=((180, 176, 160), (235, 232, 220)))


def _house(scene: _Scene, x: float, foot: float, size: float) -> None:
    aspect = scene.width / scene.height
    half, wall, roof = size * 0.62 / aspect, size * 0.55, size * 0.5
    scene.paint(scene.box(x - half, foot - wall, x + half, foot), "house", tone=0.7 + 0.06 * scene.fine - 0.25 * (scene.x > x))
    gable = scene.polygon(
        [(x - half * 1.15, foot - wall), (x - half * 0.5, foot - wall - roof), (x + half * 0.6, foot - wall - roof), (x + half * 1.15, foot - wall)]
    )
    tiles = scene.pick([(3.0, ((96, 40, 30), (172, 86, 62))), (2.0, ((52, 52, 60), (104, 104, 112))), (1.0, ((84, 60, 40), (140, 108, 76)))])
    scene.paint(gable, "house", tone=0.5 + 0.2 * scene.fine + 0.2 * np.sin(scene.y * scene.height * 1.2), colours=tiles)
    glass = ((28, 34, 46), (60, 72, 90)) if scene.light.sun[0] > 0.7 else ((220, 170, 80), (255, 220, 130))
    for column in (-0.6, 0.0, 0.6):
        scene.paint(
            scene.box(x + half * (column - 0.14), foot - wall * 0.75, x + half * (column + 0.14), foot - wall * 0.3), "house", tone=0.5, colours=glass
        )


def _building(scene: _Scene, x: float, foot: float, width: float, height: float, *, distance: float) -> None:
    facade = scene.box(x - width / 2, foot - height, x + width / 2, foot)
    scene.paint(facade, "building", tone=scene.between(0.1, 0.9) + 0.05 * scene.fine - 0.3 * (scene.x > x + width * 0.2), distance=distance)
    columns, floors = max(2, int(width * 55)), max(3, int(height * 45))
    across, up = (scene.x - x) / width + 0.5, (foot - scene.y) / height
    panes = facade & (np.abs(across * columns % 1 - 0.5) < 0.26) & (np.abs(up * floors % 1 - 0.5) < 0.26) & (up < 0.97)
    lit = scene.random.random((floors + 1, columns + 1)) < (0.1 if scene.light.sun[0] > 0.7 else 0.6)
    rows, places = np.clip((up * floors).astype(int), 0, floors), np.clip((across * columns).astype(int), 0, columns)
    glow = lit[rows, places]
    scene.paint(panes & ~glow, "building", tone=0.5, distance=distance, colours=((38, 46, 60), (70, 82, 100)))
    scene.paint(panes & glow, "building", tone=0.5, distance=distance, colours=((230, 190, 110), (255, 226, 150)))


def _town(scene: _Scene, base: float, *, count: int, tall: float, distance: float) -> None:
    for _ in range(count):
        width = scene.between(0.04, 0.12)
        _building(scene, scene.between(0, 1), base, width, tall * scene.between(0.25, 1), distance=distance)


def _boat(scene: _Scene, x: float, y: float, size: float) -> None:
    hull = scene.polygon(
        [(x - size, y - size * 0.3), (x + size * 1.1, y - size * 0.36), (x + size * 0.75, y + size * 0.16), (x - size * 0.75, y + size * 0.16)]
    )
    paint = scene.pick([(1.0, ((90, 24, 22), (190, 62, 50))), (1.0, ((20, 50, 96), (60, 110, 170))), (1.0, ((140, 136, 130), (240, 238, 232)))])
    if scene.chance(0.6):
        mast = scene.lines([(x, y, x, y - size * 2.8)], 0.003)
        sail = scene.polygon([(x + size * 0.08, y - size * 0.5), (x + size * 0.08, y - size * 2.7), (x + size * 1.0, y - size * 0.6)])
        scene.paint(mast, "boat", tone=0.2)
        scene.paint(sail, "boat", tone=0.85 + 0.05 * scene.rough, colours=((170, 164, 156), (250, 246, 238)))
    else:
        scene.paint(scene.box(x - size * 0.3, y - size * 0.75, x + size * 0.35, y - size * 0.3), "boat", tone=0.8)
    scene.paint(hull, "boat", tone=0.6 - (scene.y - y) / size * 0.8, colours=paint)
    reflection = scene.box(x - size * 0.7, y + size * 0.16, x + size * 0.7, y + size * 0.5)
    scene.photo[reflection] *= np.float32(0.72)


def _ship(scene: _Scene, x: float, y: float, size: float) -> None:
    scene.paint(
        scene.polygon(
            [(x - size, y - size * 0.2), (x + size * 1.15, y - size * 0.27), (x + size * 0.95, y + size * 0.06), (x - size * 0.92, y + size * 0.06)]
        ),
        "ship",
        tone=0.12 + 0.05 * scene.fine,
        distance=0.15,
    )
    for left, right, bottom, top in ((-0.7, 0.55, 0.2, 0.36), (-0.55, 0.35, 0.36, 0.48), (-0.45, 0.1, 0.48, 0.6)):
        scene.paint(
            scene.box(x + size * left, y - size * top, x + size * right, y - size * bottom), "ship", tone=0.95 - 0.2 * (scene.x > x), distance=0.15
        )
    scene.paint(scene.box(x - size * 0.3, y - size * 0.82, x - size * 0.14, y - size * 0.6), "ship", tone=0.5, colours=((150, 40, 30), (214, 80, 60)))


def _person(scene: _Scene, x: float, foot: float, size: float) -> None:
    aspect = scene.width / scene.height
    unit = size / aspect
    coat = tuple(tuple(float(value) * part for value in scene.random.uniform(60, 230, 3)) for part in (0.5, 1.0))
    scene.paint(
        scene.polygon([(x - unit * 0.11, foot), (x - unit * 0.13, foot - size * 0.5), (x + unit * 0.13, foot - size * 0.5), (x + unit * 0.11, foot)]),
        "person",
        tone=0.3,
    )
    scene.paint(
        scene.polygon(
            [
                (x - unit * 0.17, foot - size * 0.42),
                (x - unit * 0.15, foot - size * 0.82),
                (x + unit * 0.15, foot - size * 0.82),
                (x + unit * 0.17, foot - size * 0.42),
            ]
        ),
        "person",
        tone=0.6 - (scene.x - x) / unit * (1.2 if scene.sun_x < x else -1.2),
        colours=(coat[0], coat[1]),
    )
    scene.paint(scene.disc(x, foot - size * 0.9, unit * 0.09) < 1, "person", tone=0.6, colours=((92, 60, 44), (222, 176, 146)))


def _fence(scene: _Scene, y: float, height: float, name: str) -> None:
    """Posts and rails across the picture: a wooden fence, or the railing of a viewpoint."""
    slope = scene.between(-0.08, 0.08)
    level = [y + slope * (end - 0.5) for end in (0, 1)]
    step = 0.035 if name == "railing" else 0.06
    posts = [(x, y + slope * (x - 0.5), x, y + slope * (x - 0.5) - height) for x in np.arange(scene.between(0, step), 1, step)]
    heights = (0.95, 0.1) if name == "railing" else (0.85, 0.5)
    rails = [(0, level[0] - height * part, 1, level[1] - height * part) for part in heights]
    scene.paint(scene.lines(posts, 0.005 if name == "railing" else 0.011), name, tone=0.45 + 0.2 * scene.fine)
    scene.paint(scene.lines(rails, 0.009), name, tone=0.65 + 0.2 * scene.fine)


def _wall(scene: _Scene, y: float, height: float) -> None:
    top = y - height * (0.85 + 0.15 * scene.profile(8))
    row = np.floor(scene.y / 0.022)
    joints = (scene.y / 0.022 % 1 < 0.14) | ((scene.x / 0.045 + 0.5 * (row % 2)) % 1 < 0.07)
    scene.paint((scene.y > top) & (scene.y < y), "wall", tone=0.55 + 0.16 * scene.rough + 0.14 * scene.fine - 0.5 * joints)


def _pier(scene: _Scene, shore: float) -> None:
    """A jetty from the lower edge out onto the water."""
    start, end = scene.between(0.15, 0.85), scene.between(0.35, 0.65)
    far = shore + (1 - shore) * scene.between(0.12, 0.35)
    deck = scene.polygon([(start - 0.13, 1.0), (end - 0.022, far), (end + 0.022, far), (start + 0.13, 1.0)])
    planks = np.sin(3.2 / (scene.y - shore + 0.12) * 9)
    for part in (0.0, 0.3, 0.6):
        y = far + (1 - far) * part
        x, half = end + (start - end) * part, 0.022 + 0.108 * part
        posts = [(x + side * half, y - 0.03 - 0.05 * part, x + side * half, y + 0.03 + 0.06 * part) for side in (-1, 1)]
        scene.paint(scene.lines(posts, 0.006 + 0.012 * part), "pier", tone=0.1)
    scene.paint(deck, "pier", tone=0.55 + 0.22 * planks + 0.14 * scene.fine)


def _bridge(scene: _Scene, y: float, thickness: float) -> None:
    """A stone bridge with arches from edge to edge."""
    arches = int(scene.between(2, 6))
    rise = 0.04 * (1 - ((scene.x - 0.5) * 2) ** 2)
    deck = y - rise
    phase = (scene.x * arches % 1 - 0.5) / 0.4
    opening = thickness * 3.0 * np.sqrt(np.clip(1 - phase**2, 0, 1))
    foot = y + thickness * 3.6
    mask = (scene.y > deck - thickness * 0.5) & (scene.y < foot) & (scene.y < foot - opening)
    courses = (scene.y / 0.016 % 1 < 0.14) | ((scene.x / 0.03 + 0.5 * (np.floor(scene.y / 0.016) % 2)) % 1 < 0.08)
    scene.paint(mask, "bridge", tone=0.6 + 0.15 * scene.rough + 0.1 * scene.fine - 0.25 * courses + 0.25 * (scene.y < deck))


def _oddity(scene: _Scene, horizon: float, *, afloat: bool = False) -> None:
    """Something that has no class of its own: a balloon, a parked car, a sign; over water the balloon."""
    stripes = tuple(tuple(float(value) for value in scene.random.uniform(40, 250, 3)) for _ in range(2))
    kind = "balloon" if afloat else scene.pick([(1.0, "balloon"), (1.0, "car"), (1.0, "sign")])
    x = scene.between(0.15, 0.85)
    if kind == "balloon":
        y, radius = horizon * scene.between(0.2, 0.6), scene.between(0.02, 0.06)
        envelope = scene.disc(x, y, radius, flatness=1.1) < 1
        scene.paint(envelope, "other", tone=0.5 + 0.5 * np.sign(np.sin((scene.x - x) / radius * 9)), colours=(stripes[0], stripes[1]))
        low = y + radius * 1.45 * scene.width / scene.height
        scene.paint(scene.box(x - radius * 0.2, low - 0.02, x + radius * 0.2, low + 0.01), "other", tone=0.4, colours=((70, 46, 28), (130, 94, 60)))
    elif kind == "car":
        foot, size = scene.between(0.75, 0.92), scene.between(0.04, 0.08)
        scene.paint(scene.box(x - size, foot - size * 0.6, x + size, foot - size * 0.12), "other", tone=0.6, colours=(stripes[0], stripes[1]))
        cabin = scene.polygon(
            [
                (x - size * 0.6, foot - size * 0.58),
                (x - size * 0.4, foot - size * 1.05),
                (x + size * 0.35, foot - size * 1.05),
                (x + size * 0.6, foot - size * 0.58),
            ]
        )
        scene.paint(cabin, "other", tone=0.5, colours=((40, 48, 60), (110, 124, 140)))
        for wheel in (-0.55, 0.55):
            scene.paint(scene.disc(x + wheel * size, foot - size * 0.1, size * 0.22) < 1, "other", tone=0.2, colours=((16, 16, 18), (60, 60, 62)))
    else:
        foot, size = scene.between(0.75, 0.92), scene.between(0.06, 0.14)
        scene.paint(scene.lines([(x, foot, x, foot - size)], 0.006), "other", tone=0.2, colours=((60, 50, 44), (130, 116, 100)))
        scene.paint(
            scene.box(x - size * 0.35, foot - size * 1.2, x + size * 0.35, foot - size * 0.7), "other", tone=0.7, colours=(stripes[0], stripes[1])
        )


# The compositions: which of these come together, from far to near.


def _backdrop(scene: _Scene, horizon: float) -> None:
    """Sky, and now and then what stands at the horizon."""
    _sky(scene, horizon)
    if scene.chance(0.75):
        _mountains(scene, horizon, scene.between(0.1, 0.3), distance=scene.between(0.6, 1.3), snowy=scene.chance(0.4))
    if scene.chance(0.5):
        _hills(scene, horizon, scene.between(0.05, 0.14), distance=scene.between(0.3, 0.7))


def _alpine(scene: _Scene) -> None:
    horizon = scene.between(0.55, 0.8)
    _sky(scene, horizon)
    for layer in range(int(scene.between(1, 4))):
        _mountains(
            scene, horizon + 0.03 * layer, scene.between(0.3, 0.55) * 0.75**layer, distance=0.8 * 0.5**layer, snowy=scene.chance(0.6), sharpness=3
        )
    if scene.chance(0.7):
        _woods(scene, horizon + 0.06, scene.between(0.06, 0.12), count=90, distance=0.3)
    _ground(scene, scene.pick([(3, "grass"), (2, "earth"), (1, "rock"), (1, "land"), (0.3, "field")]), horizon + 0.05)
    if scene.chance(0.3):
        _way(scene, "path", horizon + 0.08)
    if scene.chance(0.4):
        _rocks(scene, 0.92, 0.14, 5)
    if scene.chance(0.15):
        _house(scene, scene.between(0.15, 0.85), horizon + 0.13, 0.09)
    if scene.chance(0.12):
        _person(scene, scene.between(0.2, 0.8), 0.9, scene.between(0.1, 0.18))


def _lakeside(scene: _Scene) -> None:
    shore = scene.between(0.42, 0.62)
    _sky(scene, shore)
    for layer in range(int(scene.between(1, 3))):
        _mountains(scene, shore, scene.between(0.2, 0.38) * 0.7**layer, distance=0.9 * 0.5**layer, snowy=scene.chance(0.5), sharpness=3)
    if scene.chance(0.8):
        _woods(scene, shore, scene.between(0.04, 0.1), count=110, distance=0.25)
    if scene.chance(0.15):
        _house(scene, scene.between(0.1, 0.9), shore, 0.06)
    _water(scene, scene.pick([(3, "lake"), (2, "water")]), shore)
    if scene.chance(0.25):
        _boat(scene, scene.between(0.2, 0.8), shore + scene.between(0.05, 0.25), scene.between(0.02, 0.06))
    if scene.chance(0.14):
        _pier(scene, shore)
    if scene.chance(0.45):
        _beach(scene, scene.pick([(2, "grass"), (1, "earth"), (1, "land"), (1, "rock")]), scene.between(0.8, 0.9))
    if scene.chance(0.3):
        _rocks(scene, scene.between(0.85, 0.97), 0.12, 6)
    if scene.chance(0.25):
        _tree(scene, scene.pick([(1, 0.1), (1, 0.9)]), 0.98, scene.between(0.5, 0.9))
    if scene.chance(0.2):
        _plants(scene, 0.95, 1.0)


def _seaside(scene: _Scene) -> None:
    shore = scene.between(0.35, 0.6)
    _sky(scene, shore)
    if scene.chance(0.35):
        _mountains(scene, shore, scene.between(0.06, 0.16), distance=1.1, snowy=False)
    _water(scene, "sea", shore)
    if scene.chance(0.6):
        _surf(scene, shore)
    if scene.chance(0.1):
        _ship(scene, scene.between(0.2, 0.8), shore + 0.03, scene.between(0.06, 0.14))
    if scene.chance(0.2):
        _boat(scene, scene.between(0.15, 0.85), shore + scene.between(0.05, 0.2), scene.between(0.015, 0.05))
    if scene.chance(0.35):
        _cliff(scene, shore + 0.05, scene.between(0.2, 0.45), side=scene.pick([(1, -1), (1, 1)]))
    if scene.chance(0.7):
        _beach(scene, scene.pick([(4, "sand"), (1, "rock"), (1, "earth")]), scene.between(0.68, 0.82))
        if scene.chance(0.28):
            for _ in range(3):
                _person(scene, scene.between(0.1, 0.9), scene.between(0.93, 0.97), scene.between(0.08, 0.14))
    elif scene.chance(0.4):
        _pier(scene, shore)
    if scene.chance(0.35):
        _rocks(scene, scene.between(0.75, 0.95), 0.15, 6)
    if scene.chance(0.1):
        _fence(scene, 0.97, 0.2, "railing")


def _riverside(scene: _Scene) -> None:
    horizon = scene.between(0.4, 0.55)
    _backdrop(scene, horizon)
    _woods(scene, horizon + 0.02, scene.between(0.06, 0.14), count=70, distance=0.35)
    _ground(scene, scene.pick([(4, "grass"), (2, "land"), (1, "earth"), (1, "rock")]), horizon + 0.01)
    _water(scene, "river", horizon + 0.02, mask=_band(scene, horizon + 0.02, width=scene.between(0.25, 0.45), winding=scene.between(0.05, 0.2)))
    if scene.chance(0.25):
        _bridge(scene, horizon + scene.between(0.04, 0.12), scene.between(0.025, 0.045))
    if scene.chance(0.4):
        _rocks(scene, scene.between(0.75, 0.95), 0.1, 8)
    for _ in range(int(scene.between(0, 4))):
        foot = scene.between(horizon + 0.1, 0.9)
        _tree(scene, scene.pick([(1, scene.between(0, 0.2)), (1, scene.between(0.8, 1))]), foot, (foot - horizon) * scene.between(0.8, 1.4))
    if scene.chance(0.4):
        _plants(scene, 0.93, 1.0)


def _country(scene: _Scene) -> None:
    horizon = scene.between(0.38, 0.58)
    _backdrop(scene, horizon)
    if scene.chance(0.7):
        _hills(scene, horizon + 0.03, scene.between(0.06, 0.14), distance=0.25)
    if scene.chance(0.7):
        _woods(scene, horizon + 0.05, scene.between(0.04, 0.1), count=50, distance=0.2)
    _ground(scene, scene.pick([(5, "grass"), (1.2, "field"), (2, "land"), (1.5, "earth")]), horizon + 0.04)
    if scene.chance(0.4):
        _cover(scene, scene.pick([(1, "earth"), (1, "land"), (1, "plant"), (1, "grass")]), horizon + 0.05, scene.between(0.2, 0.45))
    if scene.chance(0.55):
        _way(scene, scene.pick([(1, "road"), (1, "path")]), horizon + 0.06)
    if scene.chance(0.3):
        for _ in range(int(scene.between(1, 4))):
            _house(scene, scene.between(0.08, 0.92), horizon + scene.between(0.06, 0.14), scene.between(0.07, 0.12))
    for _ in range(int(scene.between(0, 4))):
        foot = scene.between(horizon + 0.1, 0.92)
        _tree(scene, scene.between(0, 1), foot, (foot - horizon) * scene.between(0.9, 1.6))
    if scene.chance(0.22):
        _fence(scene, scene.between(0.78, 0.97), scene.between(0.08, 0.14), "fence")
    elif scene.chance(0.2):
        _wall(scene, scene.between(0.85, 1.0), scene.between(0.06, 0.14))
    if scene.chance(0.12):
        _oddity(scene, horizon)
    if scene.chance(0.12):
        _person(scene, scene.between(0.2, 0.8), scene.between(0.7, 0.92), scene.between(0.1, 0.2))
    if scene.chance(0.3):
        _plants(scene, 0.95, 1.0)


def _townscape(scene: _Scene) -> None:
    horizon = scene.between(0.5, 0.62)
    _backdrop(scene, horizon)
    _town(scene, horizon + 0.01, count=int(scene.between(6, 14)), tall=scene.between(0.15, 0.4), distance=0.3)
    if scene.chance(0.6):
        _woods(scene, horizon + 0.02, 0.05, count=25, distance=0.15)
    afloat = scene.chance(0.6)
    if afloat:
        _water(scene, scene.pick([(3, "water"), (1, "river"), (1, "sea")]), horizon + 0.015)
        if scene.chance(0.25):
            _bridge(scene, horizon - 0.02, 0.03)
        for _ in range(int(scene.between(0, 4))):
            _boat(scene, scene.between(0.05, 0.95), horizon + scene.between(0.06, 0.3), scene.between(0.02, 0.05))
        if scene.chance(0.25):
            _fence(scene, 0.98, scene.between(0.16, 0.24), "railing")
    else:
        _ground(scene, scene.pick([(2, "grass"), (1, "road"), (1, "earth")]), horizon + 0.01)
        if scene.chance(0.5):
            _wall(scene, horizon + 0.1, 0.06)
        _way(scene, "road", horizon + 0.02)
        if scene.chance(0.5):
            for _ in range(int(scene.between(1, 5))):
                _person(scene, scene.between(0.05, 0.95), scene.between(0.88, 0.98), scene.between(0.14, 0.2))
    if scene.chance(0.25):
        _oddity(scene, horizon, afloat=afloat)


def _falls(scene: _Scene) -> None:
    horizon = scene.between(0.6, 0.7)
    _sky(scene, 0.4)
    _woods(scene, scene.between(0.25, 0.35), 0.2, count=60, distance=0.4)
    top = scene.between(0.15, 0.3)
    crest = top + 0.1 * scene.profile(3, sharp=True)
    relief = scene.rough - _shifted(scene.rough, 3, 0)
    scene.paint(scene.y > crest, "rock", tone=0.4 + 0.5 * relief + 0.12 * scene.fine + 0.14 * np.sin(scene.y * 50 + 3 * scene.rough))
    scene.paint((scene.y > crest) & (scene.rough + 0.3 * scene.fine > scene.between(0.7, 1.4)), "plant", tone=0.4 + 0.25 * scene.fine)
    x = scene.between(0.3, 0.7)
    _water(scene, scene.pick([(1, "river"), (1, "water")]), horizon)
    _waterfall(scene, x, top + 0.04, horizon + 0.03, scene.between(0.03, 0.12))
    _rocks(scene, 0.9, 0.16, 8)
    if scene.chance(0.5):
        _plants(scene, 0.95, 1.0)


def _forest(scene: _Scene) -> None:
    horizon = scene.between(0.3, 0.6)
    _backdrop(scene, horizon)
    for layer in range(3):
        _woods(scene, horizon + 0.08 * layer, scene.between(0.12, 0.3), count=45, distance=0.6 * 0.4**layer)
    _ground(scene, scene.pick([(2, "grass"), (1, "earth"), (1, "plant")]), horizon + 0.15)
    if scene.chance(0.5):
        _way(scene, "path", horizon + 0.17)
    for x in (scene.between(-0.05, 0.2), scene.between(0.8, 1.05)):
        _tree(scene, x, scene.between(0.85, 1.0), scene.between(0.5, 0.9))
    if scene.chance(0.3):
        _plants(scene, 0.93, 1.0)


def _single(scene: _Scene) -> None:
    """Hardly more than one class, as some real label maps are."""
    kind = scene.pick([(2, "sky"), (2, "sea"), (2, "mountain"), (1, "tree"), (1, "water"), (1, "grass")])
    if kind == "mountain":
        _sky(scene, 0.4)
        _mountains(scene, 0.9, 0.95, distance=0.3, snowy=scene.chance(0.7), sharpness=3)
    elif kind == "sky":
        _sky(scene, 1.0)
        if scene.chance(0.5):
            _hills(scene, 1.02, 0.1, distance=0.5)
    elif kind in ("sea", "water"):
        shore = scene.between(0.02, 0.15)
        _sky(scene, shore)
        _water(scene, kind, shore)
    elif kind == "tree":
        _sky(scene, 0.3)
        for layer in range(5):
            _woods(scene, 0.3 + 0.18 * layer, 0.35, count=40, distance=0.8 * 0.5**layer)
    else:
        _sky(scene, 0.3)
        _ground(scene, "grass", scene.between(0.05, 0.2))


_COMPOSITIONS: tuple[tuple[float, Callable[[_Scene], None]], ...] = (
    (0.22, _alpine),
    (0.17, _lakeside),
    (0.18, _seaside),
    (0.09, _riverside),
    (0.15, _country),
    (0.07, _townscape),
    (0.04, _falls),
    (0.05, _forest),
    (0.03, _single),
)
