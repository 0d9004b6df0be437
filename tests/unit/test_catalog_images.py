"""Pictures as bytes: what is read, what is refused, and that nothing escapes as another error."""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vlm4rec_spark.catalog.images import Limits, PictureError, inspect, prepare
from vlm4rec_spark.catalog.sniff import sniff

LIMITS = Limits()
SMALL = Limits(max_pixels=100_000)
"""Keeps damaged headers that claim millions of pixels from taking seconds each."""


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def half_and_half(width: int = 60, height: int = 40) -> Image.Image:
    """Return a picture whose left half is red and whose right half is blue."""
    image = Image.new("RGB", (width, height), (220, 20, 20))
    image.paste((20, 20, 220), (width // 2, 0, width, height))
    return image


def png_that_claims(width: int, height: int) -> bytes:
    """Return a tiny PNG file with a header of any size: a decompression bomb."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def opened(raw: bytes) -> Image.Image:
    return Image.open(io.BytesIO(raw))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_good_picture_is_described(kind: str) -> None:
    raw = encoded(half_and_half(), kind)
    picture = inspect(raw, LIMITS)
    assert (picture.status, picture.code, picture.message) == ("ok", None, None)
    assert (picture.width, picture.height) == (60, 40)
    assert picture.sha256 == hashlib.sha256(raw).hexdigest()
    assert picture.phash is not None
    assert len(picture.phash) == 16


def test_the_size_of_a_large_jpeg_is_the_true_one() -> None:
    picture = inspect(encoded(half_and_half(1999, 1001), "JPEG"), LIMITS)
    assert (picture.width, picture.height) == (1999, 1001)


def test_looking_alike_gives_close_hashes_and_looking_different_does_not() -> None:
    rng = np.random.default_rng(5)
    noise = Image.fromarray(rng.integers(0, 255, (8, 9, 3), dtype=np.uint8)).resize((180, 160))
    one, same, other = (
        int(inspect(raw, LIMITS).phash or "", 16)
        for raw in (
            encoded(noise, "PNG"),
            encoded(noise.resize((90, 80)), "JPEG", quality=60),
            encoded(noise.transpose(Image.Transpose.ROTATE_180), "PNG"),
        )
    )
    assert (one ^ same).bit_count() <= 6
    assert (one ^ other).bit_count() > 16


@pytest.mark.parametrize("size", [(60, 40), (801, 400)])
def test_a_picture_is_turned_as_its_exif_says(size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held a quarter turn to the left
    raw = encoded(half_and_half(*size), "JPEG", exif=exif)
    picture = inspect(raw, LIMITS)
    assert (picture.width, picture.height) == size[::-1]
    upright = opened(prepare(raw, 448))
    assert upright.height > upright.width
    assert upright.getpixel((upright.width // 2, 2))[0] > 150  # type: ignore[index]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_exif_is_ignored() -> None:
    raw = encoded(half_and_half(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\x00\x01")
    assert inspect(raw, LIMITS).status == "ok"


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(mode: str) -> None:
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    if mode == "P":
        raw = encoded(Image.new("P", (20, 20), 0), "PNG", transparency=0)
    else:
        raw = encoded(clear.convert(mode), "PNG")
    assert opened(prepare(raw, 448)).getpixel((10, 10)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    grey = Image.fromarray(np.full((8, 8), 20_000, dtype=np.uint16))
    value = opened(prepare(encoded(grey, "PNG"), 448)).getpixel((4, 4))
    assert abs(value[0] - 78) <= 2  # type: ignore[index]


def test_cmyk_becomes_rgb() -> None:
    raw = encoded(half_and_half().convert("CMYK"), "JPEG")
    assert opened(prepare(raw, 448)).mode == "RGB"


def test_the_longest_side_is_limited_and_a_small_picture_is_left_alone() -> None:
    assert opened(prepare(encoded(half_and_half(1000, 10), "PNG"), 448)).size == (448, 4)
    assert opened(prepare(encoded(half_and_half(5000, 1), "PNG"), 448)).size == (448, 1)
    assert opened(prepare(encoded(half_and_half(60, 40), "PNG"), 448)).size == (60, 40)


def test_preparing_is_repeatable() -> None:
    raw = encoded(half_and_half(900, 700), "JPEG")
    assert prepare(raw, 448) == prepare(raw, 448)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    for side in (8_000, 14_000, 60_000):
        picture = inspect(png_that_claims(side, side), LIMITS)
        assert (picture.status, picture.code) == ("error", "too_many_pixels")


def test_too_many_bytes_are_refused() -> None:
    picture = inspect(encoded(half_and_half(), "PNG"), Limits(max_bytes=50))
    assert picture.code == "too_large"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused(kind: str, share: float) -> None:
    rng = np.random.default_rng(1)
    noise = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    raw = encoded(noise, kind)
    picture = inspect(raw[: int(len(raw) * share)], LIMITS)
    assert (picture.status, picture.code) == ("error", "unreadable")
    assert picture.sha256 is not None


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_refused(kind: str) -> None:
    frames = [half_and_half(), half_and_half().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    raw = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert inspect(raw, LIMITS).code == "animated"


def test_a_phone_jpeg_with_a_second_picture_inside_is_a_still() -> None:
    frames = [half_and_half(), half_and_half(30, 20)]
    raw = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    picture = inspect(raw, LIMITS)
    assert (picture.status, picture.width) == ("ok", 60)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
        (b"<?xml version='1.0'?><!-- a --><svg/>", "svg"),
        (b"\xef\xbb\xbf <!DOCTYPE html><title>Not found</title>", "html"),
        (b"{'error': 'not found'}", "text"),
        (b"%PDF-1.7", "pdf"),
        (b"PK\x03\x04", "archive"),
        (b"\x00\x00\x00\x18ftypmp42", "video"),
        (b"\x00\x00\x00\x18ftypheic", "heic"),
        (b"%!PS-Adobe-3.0", "postscript"),
        (b"BM just some words", "unknown"),
        (b"\x00" * 100, "unknown"),
    ],
)
def test_what_is_no_picture_is_named_and_refused(raw: bytes, kind: str) -> None:
    assert sniff(raw) == kind
    picture = inspect(raw, LIMITS)
    assert (picture.status, picture.code) == ("error", "not_a_picture")
    assert picture.message is not None


def test_no_bytes_are_an_error_without_a_hash() -> None:
    picture = inspect(b"", LIMITS)
    assert (picture.code, picture.sha256) == ("empty", None)


HEADS = st.sampled_from(
    [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x10\0\0\0WEBP", b"II*\0", b"BM"]
)


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(HEADS, st.binary(max_size=300))
def test_any_bytes_end_in_a_picture_or_in_an_error_with_code_and_message(
    head: bytes, tail: bytes
) -> None:
    picture = inspect(head + tail, SMALL)
    if picture.status == "error":
        assert picture.code
        assert picture.message


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on damaged TIFF files
@given(st.data())
def test_a_damaged_picture_never_raises_anything_else(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"]))
    raw = bytearray(encoded(half_and_half(24, 16), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PictureError):
        assert opened(prepare(bytes(raw), 16, SMALL)).mode == "RGB"
