"""Read a file over http(s) without being led anywhere else.

A host is resolved once, its addresses are checked, and the connection goes to the checked address
with the host's name in TLS and in the Host header: a name that answers differently the second
time gains nothing. Redirects are followed by hand, each one checked the same way. Proxies of the
environment are not used, for they would resolve the name again.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import httpx

from vlm4rec_spark.catalog.addresses import is_public, resolve, shown
from vlm4rec_spark.catalog.images import PictureError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

MAX_REDIRECTS = 5
MAX_CLIENTS = 64
"""Addresses whose connections are kept open at one time."""

TRIES_LATER = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that may pass: worth another attempt."""

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 10.0
DEADLINE_FACTOR = 6
"""A body may take this many times the timeout: a server that drips must not hold a task."""

_Origin = tuple[str, str, int]
"""Scheme, host and port of a URL."""

HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "vlm4rec-spark"}


class _PassingError(PictureError):
    """An error that another attempt may cure; `wait_s` is what the server asked for."""

    def __init__(self, code: str, message: str, wait_s: float = 0.0) -> None:
        super().__init__(code, message)
        self.wait_s = wait_s


@dataclass
class WebReader:
    """Reads URLs under limits; safe to use from several threads.

    `resolver`, `is_allowed` and `sleep` are there to be replaced in tests. The limit per host
    holds for one process, whatever the number of the host's addresses: with n Spark tasks at work
    a host sees up to n times as many.
    """

    max_bytes: int
    timeout_s: float = 10.0
    retries: int = 2
    per_host: int = 4
    allow_private_addresses: bool = False
    resolver: Callable[[str, int], list[str]] = resolve
    is_allowed: Callable[[str], bool] = is_public
    sleep: Callable[[float], None] = time.sleep
    _clients: OrderedDict[tuple[_Origin, str], httpx.Client] = field(default_factory=OrderedDict)
    # Weak: a host's limit lives while a thread holds or awaits a place, and costs nothing later.
    _slots: WeakValueDictionary[_Origin, threading.BoundedSemaphore] = field(
        default_factory=WeakValueDictionary
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, url: str) -> bytes:
        """Return the body of a URL; passing failures are tried again `retries` times.

        Raises:
            PictureError: what went wrong, without user, password or query of the URL.
        """
        for attempt in range(self.retries):
            try:
                return self._follow(url)
            except _PassingError as error:
                pause = max(FIRST_PAUSE_S * 2**attempt, error.wait_s)
                self.sleep(min(pause, LONGEST_PAUSE_S))
        return self._follow(url)

    def _follow(self, url: str) -> bytes:
        """Fetch a URL and the redirects it leads to, checking each."""
        current, auth = self._parse(url), None
        if current.userinfo:
            auth = httpx.BasicAuth(current.username, current.password)
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._get(current, auth)
            if isinstance(answer, bytes):
                return answer
            onward = self._parse(answer, current)
            if _origin(onward) != _origin(current):
                auth = None
            current = onward
        raise PictureError(
            "too_many_redirects", f"More than {MAX_REDIRECTS} redirects from '{shown(url)}'."
        )

    def _parse(self, url: str, origin: httpx.URL | None = None) -> httpx.URL:
        """Parse a URL, relative to `origin` where one is given."""
        try:
            parsed = origin.join(url) if origin is not None else httpx.URL(url)
            # A name such as 'xn--' passes as a URL; decoding it is what fails.
            host = parsed.host
        except (httpx.InvalidURL, ValueError):
            raise PictureError("bad_uri", f"Not a URL: '{shown(url)}'.") from None
        if parsed.scheme not in ("http", "https") or not host:
            raise PictureError("bad_uri", f"Expected an http(s) URL, saw '{shown(url)}'.")
        return parsed

    def _address(self, url: httpx.URL) -> str:
        """Resolve the host and return its first address, once all of them are allowed."""
        host = url.raw_host.decode("ascii")
        try:
            addresses = self.resolver(host, _port(url))
        except (OSError, UnicodeError):
            raise _PassingError("unreachable", f"The host '{host}' does not resolve.") from None
        if not addresses:
            raise _PassingError("unreachable", f"The host '{host}' has no address.")
        if not self.allow_private_addresses and not all(map(self.is_allowed, addresses)):
            raise PictureError(
                "private_address",
                f"The host '{host}' is at a private, local or reserved address; nothing was sent. "
                "Set images.allow_private_addresses if this is your own image server.",
            )
        return addresses[0]

    def _get(self, url: httpx.URL, auth: httpx.BasicAuth | None) -> bytes | str:
        """Send one request; return the body, or where it redirects to."""
        where = shown(str(url))
        address = self._address(url)
        client, slots = self._client(url, address), self._slots_of(url)
        request = client.build_request(
            "GET",
            url.copy_with(host=address, userinfo=b"", fragment=None),
            headers={**HEADERS, "Host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        try:
            with slots, _streamed(client, request, auth) as response:
                return self._taken(response, where)
        except httpx.TimeoutException:
            raise _PassingError("timeout", f"No answer in {self.timeout_s} s: '{where}'") from None
        except httpx.HTTPError as error:
            name = type(error).__name__
            raise _PassingError("unreachable", f"{name} while reading '{where}'.") from None
        except (httpx.InvalidURL, UnicodeError):
            # httpx looks at where a redirect leads, also where it is not to follow it.
            raise PictureError("bad_uri", f"'{where}' redirects to what is no URL.") from None

    def _taken(self, response: httpx.Response, where: str) -> bytes | str:
        """Return the body of a good answer, the target of a redirect, or raise."""
        status = response.status_code
        if status in (301, 302, 303, 307, 308) and "location" in response.headers:
            return response.headers["location"]
        if status in TRIES_LATER:
            wait = _seconds(response.headers.get("retry-after", ""))
            raise _PassingError("http_status", f"Status {status} from '{where}'.", wait)
        if status != httpx.codes.OK:
            code = "missing" if status in (404, 410) else "http_status"
            raise PictureError(code, f"Status {status} from '{where}'.")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise PictureError("bad_response", f"A compressed answer, not asked for: '{where}'.")
        return self._body(response, where)

    def _body(self, response: httpx.Response, where: str) -> bytes:
        too_large = PictureError(
            "too_large", f"'{where}' is larger than images.max_bytes = {self.max_bytes} bytes."
        )
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:18]) > self.max_bytes:
            raise too_large
        deadline = time.monotonic() + DEADLINE_FACTOR * self.timeout_s
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > self.max_bytes:
                raise too_large
            if time.monotonic() > deadline:
                raise PictureError("timeout", f"The answer came too slowly: '{where}'.")
        return bytes(body)

    def _client(self, url: httpx.URL, address: str) -> httpx.Client:
        """Return the connections for a host at an address; the longest unused ones are let go."""
        key = (_origin(url), address)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = httpx.Client(
                    timeout=httpx.Timeout(self.timeout_s),
                    trust_env=False,
                    follow_redirects=False,
                    verify=_trusted(),
                )
            self._clients.move_to_end(key)
            while len(self._clients) > MAX_CLIENTS:
                # Not closed here: another thread may be reading from it.
                self._clients.popitem(last=False)
            return self._clients[key]

    def _slots_of(self, url: httpx.URL) -> threading.BoundedSemaphore:
        """Return the places of a host, the same for all of its addresses."""
        with self._lock:
            fresh = threading.BoundedSemaphore(self.per_host)
            return self._slots.setdefault(_origin(url), fresh)


@contextlib.contextmanager
def _streamed(
    client: httpx.Client, request: httpx.Request, auth: httpx.BasicAuth | None
) -> Iterator[httpx.Response]:
    response = client.send(request, stream=True, auth=auth)
    try:
        yield response
    finally:
        response.close()


@functools.lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """Return the certificate store, read once a process; SSL_CERT_FILE may name another."""
    return httpx.create_ssl_context()


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _origin(url: httpx.URL) -> _Origin:
    return url.scheme, url.host, _port(url)


def _seconds(text: str) -> float:
    """Return a Retry-After header in seconds; a date in it counts as nothing."""
    return min(float(text), LONGEST_PAUSE_S) if text.isdecimal() else 0.0
