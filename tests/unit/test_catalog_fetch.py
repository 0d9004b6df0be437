"""Reading pictures from bytes and files, and what is shown of an address."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm4rec_spark.catalog.addresses import MAX_SHOWN, is_public, redact, shown
from vlm4rec_spark.catalog.fetch import FetchSpec, locate, read_picture
from vlm4rec_spark.catalog.images import PictureError
from vlm4rec_spark.catalog.plan import PictureReader

if TYPE_CHECKING:
    from pathlib import Path

# -- bytes and files

BODY = b"\xff\xd8\xff the bytes of a picture"


def test_bytes_are_given_back_within_the_limit() -> None:
    spec = FetchSpec(max_bytes=5)
    assert read_picture(spec, b"12345") == b"12345"
    for source, code in ((b"123456", "too_large"), (b"", "empty"), (None, "no_picture")):
        with pytest.raises(PictureError) as caught:
            read_picture(spec, source)
        assert caught.value.code == code


def test_a_file_is_found_by_absolute_and_relative_path_and_file_uri(tmp_path: Path) -> None:
    (tmp_path / "shoes").mkdir()
    file = tmp_path / "shoes" / "a b.jpg"
    file.write_bytes(BODY)
    based = FetchSpec(base=str(tmp_path))
    for spec, uri in (
        (FetchSpec(), str(file)),
        (FetchSpec(), f"file:{file}"),
        (FetchSpec(), f"file://{tmp_path}/shoes/a%20b.jpg"),
        (based, "shoes/a b.jpg"),
        (based, "./shoes/../shoes/a b.jpg"),
        (based, str(file)),
        (FetchSpec(base=f"file://{tmp_path}"), "shoes/a b.jpg"),
    ):
        assert read_picture(spec, uri) == BODY


def test_volumes_are_folders() -> None:
    for uri in ("/Volumes/main/shop/a.jpg", "dbfs:/Volumes/main/shop/a.jpg"):
        assert locate(FetchSpec(), uri) == "/Volumes/main/shop/a.jpg"
    assert locate(FetchSpec(), "dbfs:/photos/a.jpg") == "/dbfs/photos/a.jpg"
    assert locate(FetchSpec(base="/Volumes/main/shop"), "a.jpg") == "/Volumes/main/shop/a.jpg"


@pytest.mark.parametrize(
    "uri",
    ["../secret.jpg", "a/../../secret.jpg", "/etc/passwd", "file:///etc/passwd", "../base2/x.jpg"],
)
def test_a_path_that_leaves_the_base_is_an_error(uri: str) -> None:
    with pytest.raises(PictureError) as caught:
        locate(FetchSpec(base="/srv/base"), uri)
    assert caught.value.code == "outside_base"


def test_two_dots_do_not_mean_another_folder_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "secret.jpg").write_bytes(BODY)
    (tmp_path / "base" / "link").symlink_to(tmp_path / "outside" / "deep")
    assert read_picture(FetchSpec(base=str(tmp_path / "base")), "link/../secret.jpg") == BODY


@given(st.lists(st.sampled_from(["..", ".", "a", "", "~", "\\", "%2e%2e", "/etc"]), max_size=8))
def test_no_mixture_of_dots_leaves_the_base(parts: list[str]) -> None:
    for base in ("/srv/base", "https://cdn.example/shop/"):
        try:
            place = locate(FetchSpec(base=base), "/".join(parts) or "a")
        except PictureError:
            continue
        assert f"{place}/".startswith(base.rstrip("/") + "/")


def test_only_plain_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it to read would wait for ever
    for name, code in (
        ("pipe", "unreadable_file"),
        (".", "unreadable_file"),
        ("none.jpg", "missing"),
        ("none/none.jpg", "missing"),
        ("x" * 5000, "unreadable_file"),
        ("a\x00b", "bad_uri"),
        ("file:///a%00b", "bad_uri"),
    ):
        with pytest.raises(PictureError) as caught:
            read_picture(FetchSpec(base=None if "file:" in name else str(tmp_path)), name)
        assert caught.value.code == code, name
    with pytest.raises(PictureError) as caught:
        read_picture(FetchSpec(), "/dev/zero")
    assert caught.value.code == "unreadable_file"


def test_a_large_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(10**12)  # sparse: reading all of it would take the machine down
    with pytest.raises(PictureError) as caught:
        read_picture(FetchSpec(base=str(tmp_path), max_bytes=1000), "large.jpg")
    assert caught.value.code == "too_large"


def test_a_directory_is_joined_by_file_name(tmp_path: Path) -> None:
    (tmp_path / "17.JPG").write_bytes(BODY)
    (tmp_path / "1").mkdir()
    spec = FetchSpec(kind="directory", base=str(tmp_path))
    assert read_picture(spec, "17") == BODY
    assert read_picture(spec, "17.JPG") == BODY
    for name, code in (("18", "missing"), ("../17", "outside_base")):
        with pytest.raises(PictureError) as caught:
            read_picture(spec, name)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("kind", "uri"),
    [
        ("path", "https://shop.example/a.jpg"),
        ("url", "a.jpg"),
        ("auto", "s3://bucket/a.jpg"),
        ("auto", "ftp://host/a.jpg"),
        ("auto", "data:image/png;base64,AAAA"),
        ("auto", "file://otherhost/a.jpg"),
        ("url", "http:///a.jpg"),
        ("url", "http://[::1/a.jpg"),
        ("bytes", "https://shop.example/a.jpg"),
        ("bytes", "a.jpg"),
    ],
)
def test_a_uri_of_the_wrong_kind_is_an_error_that_says_so(kind: str, uri: str) -> None:
    with pytest.raises(PictureError) as caught:
        read_picture(FetchSpec(kind=kind, retries=0), uri)
    assert caught.value.code == "bad_uri"


def test_a_column_of_bytes_leads_to_no_file_and_no_url(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(BODY)
    spec = FetchSpec(kind="bytes", base=str(tmp_path))
    assert read_picture(spec, BODY) == BODY
    with pytest.raises(PictureError, match=r"Expected the bytes .* saw the text 'a\.jpg'"):
        read_picture(spec, "a.jpg")


@pytest.mark.parametrize(
    ("kind", "code"), [("auto", None), ("path", "bad_uri"), ("bytes", "bad_uri")]
)
def test_a_url_read_before_is_taken_as_it_was_only_where_urls_may_be(
    kind: str, code: str | None
) -> None:
    url = "https://shop.example/a.jpg"
    known = {"known_uri": url, "known_sha256": "ab", "known_width": 3, "known_height": 4}
    row = {"item_id": "1", "position": 0, "uri": url, "content": None, "known_phash": "cd", **known}
    batch = pa.RecordBatch.from_pylist([row])
    (read,) = PictureReader(FetchSpec(kind=kind), 1).read_batches(iter([batch]))
    assert read.column("code").to_pylist() == [code]


def test_the_specification_and_the_error_travel_between_processes() -> None:
    spec = FetchSpec(base="/x")
    assert pickle.loads(pickle.dumps(spec)) == spec
    error = pickle.loads(pickle.dumps(PictureError("missing", "gone")))
    assert (error.code, str(error)) == ("missing", "gone")


# -- addresses and what is shown of a URL


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0",
        "100.64.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1",
        "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::a00:1", "2002:7f00:1::", "2002:a00:1::1", "fd00:ec2::254", "nonsense",
        "168.63.129.16", "::ffff:168.63.129.16", "64:ff9b::a83f:8110", "2002:a83f:8110::",
        "192.0.0.8", "192.0.0.192", "192.0.0.255", "::ffff:192.0.0.192", "64:ff9b::c000:c0",
        "64:ff9b:1::a00:1",
    ],
)  # fmt: skip
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111"])
def test_an_address_outside_is_public(address: str) -> None:
    assert is_public(address)


def test_a_redacted_url_still_names_the_picture() -> None:
    assert redact("https://c.example/p?id=7&size=2") == "https://c.example/p?id=7&size=2"
    assert redact("/photos/a?b@c.jpg") == "/photos/a?b@c.jpg"


@given(st.text(max_size=400))
def test_what_is_shown_is_short_and_printable(uri: str) -> None:
    text = shown(uri)
    assert len(text) <= MAX_SHOWN
    assert text.isprintable()
