"""Where image files become arrays and back: photos, label maps and the generator's JPEGs.

Photos are uint8 (H, W, 3) RGB; label maps are integer arrays (H, W) of class ids. What cannot be read as one of these is refused with a
`DataError` that names the file and the reason; nothing is padded, rotated, clipped or guessed (spec: data, "Traps").
"""

import io
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from apfgan.errors import DataError
from apfgan.labels import Classes

PIXEL_LIMIT = 2**26
"""Largest image that is decoded (8192x8192). A PNG of 48 kB can claim 400 million pixels; Pillow's own guard stays on behind this one."""

_ORIENTATION = 0x0112
_OFFENDERS_SHOWN = 8


def read_photo(path: Path) -> np.ndarray:
    """The photo in a JPEG or PNG file, uint8 (H, W, 3) RGB.

    Grey and palette images become RGB, an alpha channel is dropped where it hides nothing. Raises `DataError` for a file that is damaged,
    transparent, rotated by EXIF, CMYK or of more than 8 bits of grey.
    """
    return decode_photo(read_content(path), shown(path))


def decode_photo(content: bytes, source: str) -> np.ndarray:
    """The same from the file's bytes; `source` names them in errors."""
    image: Image.Image = _decode(content, source)
    if image.mode.startswith("I"):
        raise DataError(f"{source}: this is a {image.mode} image (16-bit grey), a label map perhaps; a photo needs 8-bit RGB")
    if image.mode == "CMYK":
        raise DataError(f"{source}: this is a CMYK image, whose colours depend on a printing profile; convert it to RGB with a tool that knows it")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise DataError(f"{source}: parts of this photo are transparent and have no colour of their own; save it without alpha")
    return np.asarray(image.convert("RGB"))


def read_label_map(path: Path, classes: Classes) -> np.ndarray:
    """The class ids in a PNG file, (H, W); uint8 where every id of `classes` and its ignore value fit, uint16 otherwise.

    Reads 1- to 16-bit grey (the value is the id), palettes (the index is the id) and RGB with equal channels. Raises `DataError` for colours,
    JPEG, EXIF rotation, and for ids that are neither a class nor the ignore value: their range is checked before they are narrowed.
    """
    return decode_label_map(read_content(path), shown(path), classes)


def decode_label_map(content: bytes, source: str, classes: Classes) -> np.ndarray:
    """The same from the file's bytes; `source` names them in errors."""
    image = _decode(content, source)
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


def encode_jpeg(image: np.ndarray, *, quality: int, subsampling: Literal["4:4:4", "4:2:2", "4:2:0"]) -> bytes:
    """`image`, uint8 (H, W, 3) RGB, as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def decode_jpeg(content: bytes) -> np.ndarray:
    """The pixels of a JPEG file, uint8 (H, W, 3) RGB: what whoever opens it will see."""
    return np.asarray(_decode(content, "JPEG data").convert("RGB"))


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


def _decode(content: bytes, source: str) -> ImageFile.ImageFile:
    """The image, loaded. `source` names it in errors."""
    if not content:
        raise DataError(f"{source}: the file is empty; copy it again or take the pair out")
    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        if image.width * image.height > PIXEL_LIMIT:
            raise Image.DecompressionBombError(f"{image.width}x{image.height} is more than the {PIXEL_LIMIT} pixels allowed")
        if image.format == "PNG":
            Image.open(io.BytesIO(content), formats=("PNG",)).verify()  # checksums: loading alone does not look at them
        image.load()
        orientation = image.getexif().get(_ORIENTATION, 1)
    except UnidentifiedImageError as error:
        raise DataError(f"{source}: this is neither a JPEG nor a PNG file, whatever its name says") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{source}: a decompression bomb? {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged file makes Pillow raise anything from SyntaxError to struct.error
        raise DataError(f"{source}: damaged or cut short ({error}); copy it again or take the pair out") from error
    if orientation not in (0, 1):  # 0 is "not set"
        raise DataError(
            f"{source}: its EXIF orientation is {orientation}, which turns the photo but not the label map; "
            "turn the pixels themselves and remove the tag"
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
