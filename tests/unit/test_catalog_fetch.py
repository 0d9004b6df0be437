"""Reading pictures: every kind of place, and every way a catalogue may try to lead astray."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm4rec_spark.catalog.addresses import MAX_SHOWN, is_public, redact, shown
from vlm4rec_spark.catalog.fetch import FetchSpec, locate, read_picture
from vlm4rec_spark.catalog.images import PictureError
from vlm4rec_spark.catalog.web import MAX_REDIRECTS, WebReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = b"\xff\xd8\xff the bytes of a picture"


class Shop(BaseHTTPRequestHandler):
    """Answers by path; keeps what it was asked."""

    protocol_version = "HTTP/1.1"
    server: ShopServer

    def do_GET(self) -> None:
        shop = self.server
        with shop.lock:
            shop.asked.append((self.path, dict(self.headers)))
            count = sum(path == self.path for path, _ in shop.asked)
            shop.busy += 1
            shop.most_busy = max(shop.most_busy, shop.busy)
        try:
            self._answer(self.path.partition("?")[0], count)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with shop.lock:
                shop.busy -= 1

    def _answer(self, path: str, count: int) -> None:
        name, _, argument = path.lstrip("/").partition("/")
        if name == "redirect":
            self._reply(302, b"", Location=self.server.targets[argument])
        elif name == "loop":
            self._reply(302, b"", Location=f"/loop/{count}")
        elif name == "status":
            self._reply(int(argument), b"no")
        elif name == "later":
            self._reply(*((503, b"") if count < 3 else (200, BODY)))
        elif name == "slow":
            time.sleep(float(argument))
            self._reply(200, BODY)
        elif name == "gzip":
            self._reply(200, BODY, **{"Content-Encoding": "gzip"})
        elif name in ("endless", "cut", "drip"):
            self._stream(name)
        else:
            self._reply(200, BODY)

    def _stream(self, name: str) -> None:
        """Send a body that never ends, ends too early, or comes too slowly."""
        self.close_connection = True
        self.send_response(200)
        if name == "cut":
            self.send_header("Content-Length", "1000")
        self.end_headers()
        if name == "cut":
            self.wfile.write(BODY)
        while name == "endless":
            self.wfile.write(b"x" * 10_000)
        for _ in range(100 if name == "drip" else 0):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.05)

    def _reply(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Stay silent."""


class ShopServer(ThreadingHTTPServer):
    """A web shop on a loopback port."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Shop)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.targets: dict[str, str] = {}
        self.lock = threading.Lock()
        self.busy = self.most_busy = 0

    @property
    def root(self) -> str:
        return f"http://shop.example:{self.server_port}"


@pytest.fixture
def shop() -> Iterator[ShopServer]:
    server = ShopServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


HOSTS = {
    "shop.example": ["127.0.0.1"],
    "inside.example": ["10.1.2.3"],
    "mixed.example": ["127.0.0.1", "169.254.169.254"],
    "nothing.example": [],
}


def resolver(host: str, port: int) -> list[str]:
    """Answer for the names above; an address is itself; another name does not resolve."""
    if host in HOSTS:
        return HOSTS[host]
    if host.replace(".", "").isdecimal() or ":" in host:
        return [host.strip("[]")]
    raise OSError(f"no such host: {host}:{port}")


def web(**changes: Any) -> WebReader:
    """Return a reader for which only 127.0.0.1, where the shop is, counts as public."""
    settings: dict[str, Any] = {
        "max_bytes": 100_000,
        "timeout_s": 5.0,
        "resolver": resolver,
        "is_allowed": lambda address: address == "127.0.0.1",
        "sleep": lambda _: None,
    }
    return WebReader(**{**settings, **changes})


def code_of(reader: WebReader, url: str) -> str:
    with pytest.raises(PictureError) as caught:
        reader.read(url)
    return caught.value.code


# -- bytes and files


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
    ],
)
def test_a_uri_of_the_wrong_kind_is_an_error_that_says_so(kind: str, uri: str) -> None:
    with pytest.raises(PictureError) as caught:
        read_picture(FetchSpec(kind=kind, retries=0), uri)
    assert caught.value.code == "bad_uri"


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
    ],
)  # fmt: skip
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111"])
def test_an_address_outside_is_public(address: str) -> None:
    assert is_public(address)


SECRET = "s3cr3t"


@pytest.mark.parametrize(
    "uri",
    [
        f"https://user:{SECRET}@cdn.example/a.jpg",
        f"https://{SECRET}@cdn.example/a.jpg",
        f"https://a@b:{SECRET}@cdn.example/a.jpg",
        f"https://cdn.example/a.jpg?X-Amz-Signature={SECRET}&id=7",
        f"https://cdn.example/a.jpg?sv=1&sig={SECRET}",
        f"https://cdn.example/a.jpg?Key-Pair-Id={SECRET}&Signature={SECRET}",
        f"https://cdn.example/a.jpg?access_token={SECRET}#{SECRET}",
        f"https://me:{SECRET}@[broken/a.jpg?token={SECRET}",
    ],
)
def test_no_secret_of_a_url_is_kept_or_shown(uri: str) -> None:
    assert SECRET not in redact(uri)
    assert SECRET not in shown(uri)
    with pytest.raises(PictureError) as caught:
        web(retries=0, resolver=lambda *_: ["10.0.0.1"]).read(uri)
    assert SECRET not in str(caught.value)


def test_a_redacted_url_still_names_the_picture() -> None:
    assert redact("https://c.example/p?id=7&size=2") == "https://c.example/p?id=7&size=2"
    assert redact("/photos/a?b@c.jpg") == "/photos/a?b@c.jpg"


@given(st.text(max_size=400))
def test_what_is_shown_is_short_and_printable(uri: str) -> None:
    text = shown(uri)
    assert len(text) <= MAX_SHOWN
    assert text.isprintable()


# -- the web


def test_a_url_is_read_from_the_checked_address_with_the_hosts_name(shop: ShopServer) -> None:
    assert web().read(f"{shop.root}/a.jpg?size=2") == BODY
    path, headers = shop.asked[0]
    assert path == "/a.jpg?size=2"
    assert headers["Host"] == f"shop.example:{shop.server_port}"


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "169.254.169.254", "[::1]", "inside.example", "mixed.example", "192.168.0.9"],
)
def test_a_private_address_is_never_asked(shop: ShopServer, host: str) -> None:
    assert code_of(web(), f"http://{host}:{shop.server_port}/a.jpg") == "private_address"
    assert not shop.asked


def test_the_real_resolver_and_rule_refuse_the_loopback_in_any_spelling(shop: ShopServer) -> None:
    reader = WebReader(1000, retries=0)
    for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"):
        assert code_of(reader, f"http://{host}:{shop.server_port}/") == "private_address"
    assert not shop.asked


def test_private_addresses_are_asked_where_the_configuration_allows_it(shop: ShopServer) -> None:
    spec = FetchSpec(allow_private_addresses=True)
    assert read_picture(spec, f"http://127.0.0.1:{shop.server_port}/a.jpg") == BODY


def test_a_redirect_is_followed_and_loses_the_password_at_another_host(shop: ShopServer) -> None:
    shop.targets = {
        "here": "/a.jpg",
        "there": f"http://127.0.0.1:{shop.server_port}/b.jpg",
    }
    url = shop.root.replace("http://", "http://me:pw@")
    assert web().read(f"{url}/redirect/here") == BODY
    assert web().read(f"{url}/redirect/there") == BODY
    has_password = [("Authorization" in headers) for _, headers in shop.asked]
    assert has_password == [True, True, True, False]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("http://10.0.0.1/a.jpg", "private_address"),
        ("http://inside.example/a.jpg", "private_address"),
        ("//169.254.169.254/latest/meta-data", "private_address"),
        ("http://[::1]/a.jpg", "private_address"),
        ("file:///etc/passwd", "bad_uri"),
        ("gopher://shop.example/", "bad_uri"),
    ],
)
def test_a_redirect_is_checked_like_the_first_address(
    shop: ShopServer, target: str, code: str
) -> None:
    shop.targets = {"x": target}
    assert code_of(web(), f"{shop.root}/redirect/x") == code
    assert [path for path, _ in shop.asked] == ["/redirect/x"]


def test_a_name_is_resolved_once_a_request(shop: ShopServer) -> None:
    """A name that answers with a private address the second time gains nothing."""
    asked: Counter[str] = Counter()

    def rebinding(host: str, _: int) -> list[str]:
        asked[host] += 1
        return ["127.0.0.1"] if asked[host] == 1 else ["10.0.0.1"]

    reader = web(resolver=rebinding)
    assert reader.read(f"{shop.root}/a.jpg") == BODY
    assert asked == {"shop.example": 1}
    assert code_of(reader, f"{shop.root}/a.jpg") == "private_address"


def test_redirects_end(shop: ShopServer) -> None:
    assert code_of(web(), f"{shop.root}/loop/0") == "too_many_redirects"
    assert len(shop.asked) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    ("path", "code", "requests"),
    [
        ("status/404", "missing", 1),
        ("status/403", "http_status", 1),
        ("status/500", "http_status", 3),
        ("status/429", "http_status", 3),
        ("status/204", "http_status", 1),
        ("gzip/a", "bad_response", 1),
        ("endless/a", "too_large", 1),
        ("cut/a", "unreachable", 3),
    ],
)
def test_a_bad_answer_has_its_code_and_its_number_of_attempts(
    shop: ShopServer, path: str, code: str, requests: int
) -> None:
    assert code_of(web(), f"{shop.root}/{path}") == code
    assert len(shop.asked) == requests


def test_a_passing_failure_is_tried_again_after_growing_pauses(shop: ShopServer) -> None:
    pauses: list[float] = []
    assert web(sleep=pauses.append).read(f"{shop.root}/later/a") == BODY
    assert pauses == [0.25, 0.5]


def test_a_declared_size_over_the_limit_is_not_downloaded(shop: ShopServer) -> None:
    assert code_of(web(max_bytes=5), f"{shop.root}/a.jpg") == "too_large"


def test_a_slow_server_is_given_up(shop: ShopServer) -> None:
    assert code_of(web(timeout_s=0.1, retries=0), f"{shop.root}/slow/2") == "timeout"
    started = time.monotonic()
    assert code_of(web(timeout_s=0.1, retries=0), f"{shop.root}/drip/a") == "timeout"
    assert time.monotonic() - started < 3


def test_names_that_lead_nowhere_are_tried_again_and_then_reported() -> None:
    pauses: list[float] = []
    reader = web(sleep=pauses.append)
    assert code_of(reader, "http://unknown.example/a.jpg") == "unreachable"
    assert code_of(reader, "http://nothing.example/a.jpg") == "unreachable"
    assert len(pauses) == 4


def test_a_host_sees_only_so_many_requests_at_a_time(shop: ShopServer) -> None:
    reader = web(per_host=2)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(reader.read, [f"{shop.root}/slow/0.05?{n}" for n in range(12)]))
    assert read == [BODY] * 12
    assert shop.most_busy == 2
