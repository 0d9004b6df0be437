"""Pictures as bytes: recognise, decode safely, hash, and make ready for a model.

Nothing here trusts the bytes. The kind comes from the first bytes, never from a name; the size in
pixels comes from the header and is checked before a pixel is decoded; only a few well-kept
decoders of Pillow are ever tried.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageOps

from vlm4rec_spark.catalog.sniff import DECODERS, sniff
from vlm4rec_spark.errors import Vlm4RecError

JPEG_QUALITY = 90
"""Quality of the pictures sent to the model; part of what makes a request what it is."""

RESIZE_RULE = f"fit-lanczos-jpeg{JPEG_QUALITY}-v1"
"""Names how `prepare` makes its bytes: it belongs into a request key, next to `max_side`."""

HASH_SIDE = 8
"""The perceptual hash compares HASH_SIDE x HASH_SIDE neighbouring pairs: 64 bits."""

SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


class PictureError(Vlm4RecError):
    """One picture cannot be used; `code` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        """Keep the code beside the message."""
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type[PictureError], tuple[str, str]]:
        """Pickle with both arguments: the error crosses processes."""
        return type(self), (self.code, str(self))


@dataclass(frozen=True)
class Limits:
    """What a picture may cost: bytes as stored, and pixels once decoded."""

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000


@dataclass(frozen=True)
class Picture:
    """What is known of one picture after reading it.

    `status` is 'ok' or 'error'. `sha256` (64 hex digits, of the raw bytes) is there whenever there
    were bytes; `width`, `height` (pixels, after EXIF rotation) and `phash` (16 hex digits) only
    for 'ok'.
    """

    status: str
    code: str | None = None
    message: str | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    phash: str | None = None


def failed(error: PictureError, raw: bytes | None = None) -> Picture:
    """Return the record of a picture that could not be used."""
    sha256 = hashlib.sha256(raw).hexdigest() if raw else None
    return Picture("error", error.code, str(error), sha256)


def inspect(raw: bytes, limits: Limits) -> Picture:
    """Decode a picture and describe it; whatever is wrong with it becomes status 'error'."""
    try:
        upright, (width, height) = _decode(raw, limits, HASH_SIDE * 16)
        return Picture(
            "ok",
            sha256=hashlib.sha256(raw).hexdigest(),
            width=width,
            height=height,
            phash=perceptual_hash(upright),
        )
    except PictureError as error:
        return failed(error, raw)


def prepare(raw: bytes, max_side: int, limits: Limits | None = None) -> bytes:
    """Return the picture as the model gets it: upright, RGB, on white, no side over `max_side`.

    A smaller picture is not enlarged. The result is a JPEG; the same bytes in give the same bytes
    out for one version of Pillow.

    Raises:
        PictureError: the bytes are not a picture within the limits.
    """
    upright, _ = _decode(raw, limits or Limits(), max_side)
    scale = min(1.0, max_side / max(upright.size))
    size = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
    if size != upright.size:
        upright = upright.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    upright.save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def perceptual_hash(image: Image.Image) -> str:
    """Return the difference hash: 64 bits as 16 hex digits, close for pictures that look alike."""
    small = image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.uint8)
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes().hex()


def _decode(raw: bytes, limits: Limits, side: int) -> tuple[Image.Image, tuple[int, int]]:
    """Return the upright RGB picture and its true upright size in pixels (width, height).

    A JPEG may come back smaller than that size, but no smaller than `side`: its decoder can halve
    while decoding, which is several times faster.
    """
    image = _open(raw, limits)
    stored = image.size
    try:
        is_reduced = image.draft("RGB", (side, side)) is not None
        image.load()
        upright = _rotated(image)
        # Sizes of a reduced JPEG are rounded, so the true one is turned the way it was turned.
        turned = stored[::-1] if _orientation(image) in SIDEWAYS else stored
        return _on_white(upright), turned if is_reduced else upright.size
    except MemoryError:
        raise PictureError("too_many_pixels", "The picture does not fit into memory.") from None
    except Exception as error:  # noqa: BLE001
        # Decoders of broken files raise nearly anything: OSError, SyntaxError, struct.error ...
        raise PictureError("unreadable", f"The picture is damaged: {_words(error)}") from None


def _open(raw: bytes, limits: Limits) -> Image.Image:
    """Read the header only, and refuse what should not be decoded."""
    if not raw:
        raise PictureError("empty", "The picture has no bytes.")
    if len(raw) > limits.max_bytes:
        raise PictureError(
            "too_large", f"The picture is larger than images.max_bytes = {limits.max_bytes} bytes."
        )
    kind = sniff(raw)
    if kind not in DECODERS:
        what = "of no known kind" if kind == "unknown" else f"of kind '{kind}'"
        raise PictureError(
            "not_a_picture", f"The content is {what}; expected one of: {', '.join(DECODERS)}."
        )
    try:
        image = Image.open(io.BytesIO(raw), formats=DECODERS[kind])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError("too_many_pixels", _too_many("more", limits)) from None
    except Exception as error:  # noqa: BLE001
        message = f"The {kind} header is broken: {_words(error)}"
        raise PictureError("unreadable", message) from None
    pixels = image.width * image.height
    if pixels > limits.max_pixels:
        size = f"{image.width} x {image.height}"
        raise PictureError("too_many_pixels", _too_many(size, limits))
    if image.format != "MPO" and _has_more_frames(image):
        raise PictureError("animated", f"The {kind} holds several frames; expected a still.")
    return image


def _too_many(size: str, limits: Limits) -> str:
    return f"The picture has {size} pixels; images.max_pixels allows {limits.max_pixels} in all."


def _has_more_frames(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # noqa: BLE001
        # A GIF cut off after its first frame: decoding will tell whether that frame is whole.
        return False


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001
        return 1


def _rotated(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001
        # Broken EXIF is common and harmless: the picture is shown as it is stored.
        return image


def _on_white(image: Image.Image) -> Image.Image:
    """Return an RGB copy; what is transparent becomes white."""
    if image.mode.startswith("I"):
        # Pillow clips 16-bit grey at 255 instead of scaling it: nearly all of it would be white.
        grey = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
        image = Image.fromarray(grey.astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _words(error: Exception) -> str:
    """Return a short reason that names no memory address or buffer of this process."""
    text = " ".join(str(error).split())
    return type(error).__name__ if not text or "0x" in text else text[:200]
