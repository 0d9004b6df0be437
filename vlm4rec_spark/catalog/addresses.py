"""Which network addresses a catalogue row may send this program to, and how a URL is shown.

A catalogue is written by others: a URL in it must not reach the machine itself, its private
network, or a cloud's metadata service.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses that carry an IPv4 address in their last 32 bits."""

INSIDE = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24")))
"""Networks that lead inside though Python, or an older version of it, counts them as public: the
server from which Azure's machines get their settings, and the block in which Oracle's is."""

_SECRET = re.compile(
    r"sig|token|secret|passw|credential|policy|auth|expires|api_?key|access_?key|^(se|sp|st|sv)$"
    r"|^x-(amz|goog|ms)-|^key",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@")
MAX_SHOWN = 200


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host in the system's order, each once.

    Raises:
        OSError: the name does not resolve.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """Tell whether an address belongs to the public internet, also one wrapped in IPv6.

    >>> is_public("93.184.216.34"), is_public("127.0.0.1"), is_public("::ffff:10.0.0.1")
    (True, False, False)
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = _inner(parsed)
        if inner is not None:
            return is_public(str(inner))
        if parsed.is_site_local:
            return False
    if any(parsed in network for network in INSIDE):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _inner(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def redact(uri: str) -> str:
    """Return the URI without user, password and the values of secret-looking parameters.

    This is what tables hold. It names the same picture as before when a signed URL is signed anew.

    >>> redact("https://me:pw@cdn.example/a.jpg?id=7&X-Amz-Signature=abc")
    'https://cdn.example/a.jpg?id=7&X-Amz-Signature='
    """
    if "://" not in uri:
        return uri
    # By hand first: it also holds where the rest of the URL cannot be parsed.
    uri = _USERINFO.sub(r"\1", uri)
    try:
        parts = urlsplit(uri)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return uri.partition("?")[0]
    if not any(_SECRET.search(name) for name, _ in pairs):
        return urlunsplit(parts._replace(fragment=""))
    query = "&".join(
        f"{quote(name)}={'' if _SECRET.search(name) else quote(value)}" for name, value in pairs
    )
    return urlunsplit(parts._replace(query=query, fragment=""))


def shown(uri: str) -> str:
    """Return a URI for a message: redacted, without query, printable, at most MAX_SHOWN long."""
    text = redact(uri)
    if "://" in text:
        text = text.partition("?")[0].partition("#")[0]
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
