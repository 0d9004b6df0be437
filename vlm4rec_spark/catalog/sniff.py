"""Tell what bytes are by how they begin; names and declared types are not believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DECODERS = {
    "jpeg": ("JPEG", "MPO"),
    "png": ("PNG",),
    "gif": ("GIF",),
    "webp": ("WEBP",),
    "bmp": ("BMP",),
    "tiff": ("TIFF",),
    "avif": ("AVIF",),
}
"""Sniffed kind -> the Pillow decoders allowed for it. MPO is a JPEG of a phone with extras."""


def sniff(raw: bytes) -> str:
    """Return what the first bytes say the content is: a key of DECODERS or another known kind.

    >>> sniff(b"<!DOCTYPE html><title>404</title>")
    'html'
    """
    for kind, matches in _SIGNATURES:
        if matches(raw):
            return kind
    head = raw[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in head:
        return "svg"
    if head.startswith((b"<!doctype html", b"<html")) or b"<html" in head or b"<body" in head:
        return "html"
    if head.startswith((b"{", b"[", b"<?xml")):
        return "text"
    return "unknown"


def _starts(*prefixes: bytes) -> Callable[[bytes], bool]:
    return lambda raw: raw.startswith(prefixes)


def _brand(*brands: bytes) -> Callable[[bytes], bool]:
    """Match an ISO base media file by its major brand, or by any brand where none is given."""
    return lambda raw: raw[4:8] == b"ftyp" and (not brands or raw[8:12] in brands)


_SIGNATURES: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    ("jpeg", _starts(b"\xff\xd8\xff")),
    ("png", _starts(b"\x89PNG\r\n\x1a\n")),
    ("gif", _starts(b"GIF87a", b"GIF89a")),
    ("webp", lambda raw: raw[:4] == b"RIFF" and raw[8:12] == b"WEBP"),
    ("tiff", _starts(b"II*\x00", b"MM\x00*")),
    ("avif", _brand(b"avif", b"avis")),
    ("heic", _brand(b"heic", b"heix", b"hevc", b"mif1", b"msf1")),
    ("video", _brand()),
    ("video", _starts(b"\x1a\x45\xdf\xa3")),
    ("pdf", _starts(b"%PDF")),
    ("archive", _starts(b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"BZh")),
    ("postscript", _starts(b"%!PS", b"\xc5\xd0\xd3\xc6")),
    ("photoshop", _starts(b"8BPS")),
    ("icon", _starts(b"\x00\x00\x01\x00")),
    # Two letters are a weak sign: the reserved zeros of the header are checked with them.
    ("bmp", lambda raw: raw[:2] == b"BM" and raw[6:10] == b"\x00\x00\x00\x00"),
)
