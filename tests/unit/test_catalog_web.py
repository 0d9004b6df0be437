"""Reading pictures from URLs, and every way a catalogue may try to lead astray."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest

from tests.loopback import Answering, Loopback
from vlm4rec_spark.catalog.addresses import redact, shown
from vlm4rec_spark.catalog.fetch import FetchSpec, read_picture
from vlm4rec_spark.catalog.images import PictureError
from vlm4rec_spark.catalog.web import MAX_REDIRECTS, WebReader

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "s3cr3t"
BODY = b"\xff\xd8\xff the bytes of a picture"


class Shop(Answering):
    """Answers by path; keeps what it was asked."""

    protocol_version = "HTTP/1.1"
    server: ShopServer

    def answer(self) -> None:
        shop = self.server
        with shop.lock:
            shop.asked.append((self.path, dict(self.headers)))
            count = sum(path == self.path for path, _ in shop.asked)
        try:
            self._answer(self.path.partition("?")[0], count)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _count(self, more: int) -> None:
        shop = self.server
        with shop.lock:
            shop.busy += more
            shop.most_busy = max(shop.most_busy, shop.busy)

    def _answer(self, path: str, count: int) -> None:
        name, _, argument = path.lstrip("/").partition("/")
        if name == "redirect":
            self.reply(302, b"", Location=self.server.targets[argument])
        elif name == "loop":
            self.reply(302, b"", Location=f"/loop/{count}")
        elif name == "status":
            self.reply(int(argument), b"no")
        elif name == "later":
            self.reply(*((503, b"") if count < 3 else (200, BODY)))
        elif name == "slow":
            # Counted before the answer: its reader may be back before this thread goes on.
            self._count(1)
            time.sleep(float(argument))
            self._count(-1)
            self.reply(200, BODY)
        elif name == "gzip":
            self.reply(200, BODY, **{"Content-Encoding": "gzip"})
        elif name in ("endless", "cut", "drip"):
            self._stream(name)
        else:
            self.reply(200, BODY)

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


class ShopServer(Loopback):
    """A web shop on a loopback port."""

    def __init__(self) -> None:
        super().__init__(Shop)
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.targets: dict[str, str] = {}
        self.lock = threading.Lock()
        self.busy = self.most_busy = 0

    @property
    def root(self) -> str:
        return f"http://shop.example:{self.server_port}"


@pytest.fixture
def shop() -> Iterator[ShopServer]:
    with ShopServer() as server:
        yield server


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


@pytest.mark.parametrize("clients", [1, 64])
def test_a_host_with_many_addresses_sees_no_more_requests_at_a_time(
    shop: ShopServer, clients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one whose connections are forgotten while they are in use."""
    monkeypatch.setattr("vlm4rec_spark.catalog.web.MAX_CLIENTS", clients)
    rotating = cycle(["127.0.0.1", "127.0.1", "127.1", "0x7f.1"])
    reader = web(per_host=2, resolver=lambda *_: [next(rotating)], is_allowed=lambda _: True)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(reader.read, [f"{shop.root}/slow/0.05?{n}" for n in range(16)]))
    assert read == [BODY] * 16
    assert shop.most_busy == 2


@pytest.mark.parametrize("host", ["xn--", "xn--a", "xn--zz.example"])
def test_a_host_whose_name_cannot_be_decoded_is_not_a_url(shop: ShopServer, host: str) -> None:
    assert code_of(web(), f"http://{host}/") == "bad_uri"
    shop.targets = {"x": f"http://{host}/"}
    assert code_of(web(), f"{shop.root}/redirect/x") == "bad_uri"


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
