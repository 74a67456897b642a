"""Where image files become arrays and back: photos, label maps and the generator's JPEGs.

Photos are uint8 (H, W, 3) RGB; label maps are integer arrays (H, W) of class ids. What cannot be read as one of these is refused with a
`DataError` that names the file and the reason; nothing is padded, rotated, clipped or guessed (spec: data, "Traps"), unless it is asked to
be converted as the libraries do with whose numbers others are compared (spec: metrics, 2.1).
"""

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from apfgan.errors import DataError, EnvironmentProblem
from apfgan.labels import Classes

PIXEL_LIMIT = 2**26
"""Largest image that is decoded (8192x8192). A PNG of 48 kB can claim 400 million pixels; Pillow's own guard stays on behind this one."""

_PHOTO_FORMATS = {"JPEG": "JPEG", "PNG": "PNG", "BMP": "BMP", "PPM": "PGM, PPM", "TIFF": "TIFF", "WEBP": "WebP"}
"""Pillow's names of the formats of photos, as people call them. A camera's MPO counts as JPEG, of which its first picture is one."""
_LABEL_FORMATS = {name: name for name in ("JPEG", "PNG")}
_CONVERT = ", or read it as pytorch-fid and clean-fid do: --convert"
_DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
_ORIENTATION = 0x0112
_OFFENDERS_SHOWN = 8
Subsampling = Literal["4:4:4", "4:2:2", "4:2:0"]
"""How a JPEG stores colours, from all of them to a quarter."""

_SUBSAMPLINGS: dict[int, Subsampling] = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file stores its pixels: what it cost them."""

    format: str
    """Pillow's name of the format."""
    quality: int | None = None
    """Of a JPEG: the quality, 1..100, at which Pillow writes the same quantisation tables; None: tables of another program."""
    subsampling: str | None = None
    """Of a JPEG: how its colours were thinned out (`4:2:0`), `none` where there is nothing to thin out (grey), `other`."""

    @property
    def record(self) -> dict[str, Any]:
        """As JSON, for protocols: what a format does not have is left out, and unknown tables are `custom`."""
        if self.format != "JPEG":
            return {"format": self.format}
        return asdict(self) | {"quality": self.quality or "custom"}

    def __str__(self) -> str:
        if self.format != "JPEG":
            return self.format
        return f"JPEG ({f'quality {self.quality}' if self.quality else 'custom tables'}, {self.subsampling})"


def read_photo(path: Path) -> np.ndarray:
    """The photo in a file, uint8 (H, W, 3) RGB: JPEG, PNG, BMP, PGM, PPM, TIFF or WebP, whatever its name says.

    Grey and palette images become RGB, an alpha channel is dropped where it hides nothing. Raises `DataError` for a file that is damaged,
    transparent, rotated by EXIF, animated, CMYK or of more than 8 bits of grey.
    """
    return decode_photo(read_content(path), shown(path))


def decode_photo(content: bytes, source: str, *, convert: bool = False) -> np.ndarray:
    """The same from the file's bytes; `source` names them in errors.

    `convert` takes what Pillow's `convert("RGB")` makes of the file, as pytorch-fid and clean-fid do: deep grey saturates, alpha is dropped,
    EXIF is ignored, of an animation the first picture counts. Damaged files are refused all the same.
    """
    return decode_stored(content, source, convert=convert)[0]


def decode_stored(content: bytes, source: str, *, convert: bool = False) -> tuple[np.ndarray, Encoding]:
    """What `decode_photo` gives, and how the file stores it."""
    image = _decode(content, source, _PHOTO_FORMATS, any_orientation=convert, remedy=_CONVERT)
    encoding = _encoding(image)
    if not convert:
        _refuse_doubtful(image, source)
    # Of a palette the transparency is not asked for; Pillow warns where it drops it.
    image.info.pop("transparency", None)
    return np.asarray(image.convert("RGB")), encoding


def _refuse_doubtful(image: ImageFile.ImageFile, source: str) -> None:
    """Raise `DataError` if `image` means more than its RGB values say."""
    if image.mode in _DEEP_MODES:
        raise DataError(f"{source}: this is a {image.mode} image (more than 8 bits of grey), a label map perhaps; save photos as 8-bit RGB{_CONVERT}")
    if image.mode == "CMYK":
        raise DataError(
            f"{source}: this is a CMYK image, whose colours depend on a printing profile; convert it to RGB with a tool that knows it{_CONVERT}"
        )
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise DataError(f"{source}: this is an animation of {getattr(image, 'n_frames', 1)} pictures; save the one that is meant{_CONVERT}")
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise DataError(f"{source}: parts of this photo are transparent and have no colour of their own; save it without alpha{_CONVERT}")


def _encoding(image: ImageFile.ImageFile) -> Encoding:
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return Encoding(image.format or "")
    subsampling = "none" if image.mode == "L" else _SUBSAMPLINGS.get(JpegImagePlugin.get_sampling(image), "other")
    return Encoding("JPEG", _qualities(image.mode).get(_tables(image)), subsampling)


@cache
def _qualities(mode: str) -> dict[tuple[tuple[int, ...], ...], int]:
    """The quality at which Pillow writes these quantisation tables into a JPEG of this mode."""
    found = {}
    for quality in range(1, 101):
        buffer = io.BytesIO()
        Image.new(mode, (1, 1)).save(buffer, "JPEG", quality=quality)
        with JpegImagePlugin.JpegImageFile(io.BytesIO(buffer.getvalue())) as written:
            found[_tables(written)] = quality
    return found


def _tables(image: JpegImagePlugin.JpegImageFile) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(table) for _, table in sorted(image.quantization.items()))


def read_label_map(path: Path, classes: Classes) -> np.ndarray:
    """The class ids in a PNG file, (H, W); uint8 where every id of `classes` and its ignore value fit, uint16 otherwise.

    Reads 1- to 16-bit grey (the value is the id), palettes (the index is the id) and RGB with equal channels. Raises `DataError` for colours,
    JPEG, EXIF rotation, and for ids that are neither a class nor the ignore value: their range is checked before they are narrowed.
    """
    return decode_label_map(read_content(path), shown(path), classes)


def decode_label_map(content: bytes, source: str, classes: Classes) -> np.ndarray:
    """The same from the file's bytes; `source` names them in errors."""
    image = _decode(content, source, _LABEL_FORMATS)
    if image.format != "PNG":
        raise DataError(f"{source}: a {image.format} label map has wrong ids along every class edge; export it again as PNG")
    bits = content[24]  # PNG's IHDR: Pillow keeps only the high byte of 16-bit colour, and stretches 2- and 4-bit grey to 0..255
    values = np.asarray(image)
    if values.ndim == 3:
        values = _single_channel(values, image.mode, bits, source)
    elif image.mode == "L" and bits < 8:
        values = values // (255 // (2**bits - 1))
    _check_ids(values, classes, source)
    largest = max(len(classes) - 1, classes.ignore or 0)
    return values.astype(np.uint8 if largest < 256 else np.uint16)


def resize_photo(photo: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`photo`, uint8 (H, W, 3), at `size` (width, height); Pillow's bicubic filter, which averages when it shrinks."""
    return np.asarray(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))


def resize_label_map(label_map: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`label_map`, uint8 or uint16 (H, W), at `size` (width, height); Pillow's NEAREST ("pil-nearest"), which samples at pixel centres.

    OpenCV's and PyTorch's nearest pick other pixels: up to 0.0039 of the final score (spec: data).
    """
    return np.asarray(Image.fromarray(label_map).resize(size, Image.Resampling.NEAREST))


def encode_jpeg(image: np.ndarray, *, quality: int, subsampling: Subsampling) -> bytes:
    """`image`, uint8 (H, W, 3) RGB, as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def decode_jpeg(content: bytes) -> np.ndarray:
    """The pixels of a JPEG file, uint8 (H, W, 3) RGB: what whoever opens it will see."""
    return np.asarray(_decode(content, "JPEG data", {"JPEG": "JPEG"}).convert("RGB"))


def encode_png(image: np.ndarray) -> bytes:
    """An image, uint8 (H, W, 3), or a label map, uint8 or uint16 (H, W), as a PNG file of the same depth."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def shown(path: Path) -> str:
    """`path` for a message: escaped where a name holds a line break, a control character or bytes that are no text."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def read_content(path: Path) -> bytes:
    """The bytes of a file; raises `DataError` that names it when it is none or cannot be read."""
    source = shown(path)
    try:
        if not path.is_file():  # opening a FIFO would wait for ever
            raise DataError(f"{source}: {'this is not a regular file' if path.exists() else 'there is no such file (or its link leads nowhere)'}")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}") from error


def _decode(content: bytes, source: str, formats: Mapping[str, str], *, any_orientation: bool = False, remedy: str = "") -> ImageFile.ImageFile:
    """The image, loaded. `source` names it in errors; `formats` are Pillow's names of those that may be, each as people call it."""
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise EnvironmentProblem(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: Pillow then fills up damaged images with grey. Unset it to read any here"
        )
    if not content:
        raise DataError(f"{source}: the file is empty; copy it again or take the pair out")
    try:
        image = Image.open(io.BytesIO(content), formats=list(formats))
        if image.width * image.height > PIXEL_LIMIT:
            raise Image.DecompressionBombError(f"{image.width}x{image.height} is more than the {PIXEL_LIMIT} pixels allowed")
        if image.format == "PNG":
            Image.open(io.BytesIO(content), formats=("PNG",)).verify()  # checksums: loading alone does not look at them
        orientation = 1 if any_orientation else image.getexif().get(_ORIENTATION, 1)  # of a TIFF, loading drops it
        image.load()
    except UnidentifiedImageError as error:
        raise DataError(f"{source}: this is none of {', '.join(formats.values())}, whatever its name says") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{source}: a decompression bomb? {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise anything from SyntaxError to struct.error
        raise DataError(f"{source}: damaged or cut short ({error}); copy it again or take the pair out") from error
    if orientation not in (0, 1):  # 0 is "not set"
        raise DataError(
            f"{source}: its EXIF orientation is {orientation}, which turns the photo but not the label map; "
            f"turn the pixels themselves and remove the tag{remedy}"
        )
    return image


def _single_channel(values: np.ndarray, mode: str, bits: int, source: str) -> np.ndarray:
    """The ids of a label map that was stored with colour or alpha channels."""
    if bits == 16:
        raise DataError(f"{source}: a label map of 16-bit {mode} loses its ids when it is read; store it as 16-bit grey")
    if mode.endswith("A"):
        if (values[..., -1] != 255).any():
            raise DataError(f"{source}: parts of this label map are transparent; store plain ids, and name an ignore value for what has no class")
        values = values[..., :-1]
    if (values != values[..., :1]).any():
        raise DataError(f"{source}: this is a picture in colours, not a map of class ids; export the ids themselves as a grey PNG")
    return values[..., 0]


def _check_ids(values: np.ndarray, classes: Classes, source: str) -> None:
    if values.max() < len(classes) and values.min() >= 0:
        return
    ids, counts = np.unique(values, return_counts=True)
    offenders = [
        f"{value} ({count} pixels)"
        for value, count in zip(ids.tolist(), counts.tolist(), strict=True)
        if not 0 <= value < len(classes) and value != classes.ignore
    ]
    if offenders:
        more = f" and {len(offenders) - _OFFENDERS_SHOWN} more" if len(offenders) > _OFFENDERS_SHOWN else ""
        allowed = f"0..{len(classes) - 1}" + ("" if classes.ignore is None else f" and {classes.ignore} (ignore)")
        raise DataError(
            f"{source}: holds {', '.join(offenders[:_OFFENDERS_SHOWN])}{more}; allowed ids: {allowed}. "
            "Correct the map, or say what its ids mean (--classes N, --ignore ID)"
        )
