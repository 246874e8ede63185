"""URLs and their typed options.

Exists so that every scheme reads hosts, ports, paths and options in one way, and so that a mistake is found here with
a text that says what to write instead. It must never resolve a name, and no error or `repr` may show a secret:
passwords in URLs are refused, secret options are refused in URLs, and values are left out of what is printed.

Every mistake raises `InvalidURL`, in a URL as in a keyword option, so that one class covers them all.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from transport.errors import InvalidURL
from transport.limits import HOST_CHARS_MAX, PORT_MAX, URL_CHARS_MAX, URL_OPTIONS_MAX
from transport.options import COMMON, SOCKET, Option, water_marks

__all__ = ["COMMON", "SOCKET", "Option", "Url", "parse", "parse_options", "quote", "unquote", "water_marks"]

DEFAULT_PORTS: Mapping[str, int] = {"ws": 80, "wss": 443}
"""Schemes whose URLs may leave the port out."""

HOST_AND_PORT = frozenset({"tcp", "tls", "udp", "rudp", "rudps", "ws", "wss"})
PATH_TAKING = frozenset({"ws", "wss"})  # of those, the ones whose URLs have a path

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,31}://")
_DIGITS = re.compile(r"[0-9]{1,5}")
_BAD_IN_URL = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]")
_BAD_IN_HOST = re.compile(r"""[%<>"\\^`{|}\[\]:,;!$&'()*+=]""")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@!$'()*,;")
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|psk|credential|cookie|auth|sign", re.IGNORECASE)


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """A parsed URL. `str(url)` gives it back; `repr(url)` is redacted.

    Args:
        scheme: in lower case.
        host: without brackets, with the scope of an IPv6 address after `%`; for `memory` the name. Names are left as
            they are written: encoding and resolving them is the resolver's.
        port: 0 lets the system choose; None where the scheme has none.
        path: decoded. For `unix` the file, or a name in the abstract space after `@`.
        query_text: what stood behind `?`, as it was written.
    """

    scheme: str
    host: str = ""
    port: int | None = None
    path: str = ""
    query_text: str = ""

    @property
    def query(self) -> dict[str, str]:
        """The query as a mapping, decoded; of a name given twice the last value."""
        return dict(_pairs(self.query_text))

    @property
    def host_port(self) -> str:
        """The authority as it stands in a URL: `127.0.0.1:80`, `[::1]:80`, `name`."""
        if ":" in self.host:
            address, _, scope = self.host.partition("%")
            if scope.startswith("25") and len(scope) > 2:
                scope = "25" + scope  # else a reader takes the digits for an encoded percent sign
            host = f"[{address}%{scope}]" if scope else f"[{address}]"
        else:
            host = self.host
        return host if self.port is None else f"{host}:{self.port}"

    def _before_query(self) -> str:
        path = quote(self.path)
        return f"{self.scheme}://{self.host_port}{path}"

    def __str__(self) -> str:
        return self._before_query() + (f"?{self.query_text}" if self.query_text else "")

    def redacted(self, known: Mapping[str, Option] | None = None) -> str:
        """The URL for logs and errors: values are masked of options that `known` calls secret or whose names sound so.

        The path is shown, except where it belongs to a request (`ws`), which may carry a token.
        """
        shown = self._before_query()
        if self.scheme in PATH_TAKING and self.path not in ("", "/"):
            shown = f"{self.scheme}://{self.host_port}/..."
        if not self.query_text:
            return shown
        if self.scheme in PATH_TAKING:
            return shown + "?..."
        parts = []
        for part in self.query_text.split("&"):
            name, equals, value = part.partition("=")
            option = known.get(unquote(name)) if known else None
            secret = _SECRET_NAME.search(name) or (option is not None and option.secret)
            parts.append(f"{name}{equals}{'***' if secret and value else value}")
        return shown + "?" + "&".join(parts)

    def __repr__(self) -> str:
        return f"Url({self.redacted()!r})"

    def replace(self, **changes: Any) -> Url:
        """A copy with some fields changed.

        Raises:
            InvalidURL: the result is no valid URL.
        """
        changed = dataclasses.replace(self, **changes)
        if changed.port is not None and not 0 <= changed.port <= PORT_MAX:
            raise InvalidURL(f"{self.redacted()}: a port is a number from 0 to {PORT_MAX}")
        return parse(str(changed))

    def with_port(self, port: int) -> Url:
        """The same URL with another port: a listener's with the one that the system chose."""
        return self.replace(port=port)

    def without_query(self) -> Url:
        """The same URL without its options: what the other side connects to."""
        return dataclasses.replace(self, query_text="")

    def endpoint(self) -> tuple[str, int]:
        """Host and port of a scheme that needs both.

        Raises:
            InvalidURL: one of them is missing.
        """
        if not self.host:
            raise InvalidURL(f"{self.redacted()}: the host is missing")
        if self.port is None:
            raise InvalidURL(f"{self.redacted()}: the port is missing")
        return self.host, self.port


def quote(text: str) -> str:
    """Percent-encodes what can't stand in a path or an option's value; undone by `unquote`."""
    data = text.encode("utf-8", "surrogateescape")
    return "".join([chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in data])


def unquote(text: str) -> str:
    """Decodes percent escapes as UTF-8; bytes that are none survive as Python's own file names do (PEP 383).

    Raises:
        ValueError: a percent sign that begins no escape.
    """
    if "%" not in text:
        return text
    if _BAD_ESCAPE.search(text):
        raise ValueError("a % begins an escape of two hexadecimal digits; a percent sign itself is %25")
    head, *parts = text.encode("utf-8", "surrogateescape").split(b"%")
    joined = head + b"".join([bytes([int(part[:2], 16)]) + part[2:] for part in parts])
    return joined.decode("utf-8", "surrogateescape")


def parse(text: str | Url) -> Url:
    """Reads `tcp://127.0.0.1:80`, `tcp://[fe80::1%eth0]:80`, `unix:///run/x.sock`, `memory://name?loss=0.02` and so on.

    Schemes that are not ours keep whatever of host, port and path they have.

    Raises:
        InvalidURL: says what is wrong and what to write; shows neither user information nor the query.
    """
    if isinstance(text, Url):
        return text
    if not isinstance(text, str):
        raise InvalidURL(f"a URL is a str, not {type(text).__name__}")
    if len(text) > URL_CHARS_MAX:
        raise InvalidURL(f"the URL has {len(text)} characters, over the limit of {URL_CHARS_MAX}")
    found = _SCHEME.match(text)
    if found is None:
        raise InvalidURL(f"{_shown(text)!r} is no URL: it begins with a scheme, as in tcp://127.0.0.1:7000")
    scheme = text[: found.end() - 3].lower()
    try:
        return _parse_rest(scheme, text[found.end() :])
    except ValueError as error:
        raise InvalidURL(f"{_shown(text)}: {error}") from None


def _parse_rest(scheme: str, rest: str) -> Url:
    if _BAD_IN_URL.search(rest):
        raise ValueError("spaces and control characters must be percent-encoded")
    if "#" in rest:
        raise ValueError("a fragment (#) means nothing here; in a path or a value write %23")
    rest, _, query_text = rest.partition("?")
    unquote(query_text)
    if scheme == "unix":
        return Url(scheme, path=_unix_path(rest), query_text=query_text)
    slash = rest.find("/")
    authority, path = (rest, "") if slash < 0 else (rest[:slash], unquote(rest[slash:]))
    if "@" in authority:
        raise ValueError("user names and passwords are refused in a URL; give secrets as keyword options")
    if "\0" in path:
        raise ValueError("a path can't hold a NUL")
    host, port = _host_port(authority)
    if port is None:
        port = DEFAULT_PORTS.get(scheme)
    if scheme in HOST_AND_PORT:
        if not host:
            raise ValueError("the host is missing: 127.0.0.1 is this machine, 0.0.0.0 and [::] are all its addresses")
        if port is None:
            raise ValueError(
                f"the port is missing: write {scheme}://host:port (a server's port may be 0: any free one)"
            )
        if scheme not in PATH_TAKING:
            if path not in ("", "/"):
                raise ValueError(f"{scheme}:// takes no path")
            path = ""
    elif scheme == "memory" and (not host or port is not None or path not in ("", "/")):
        raise ValueError("write memory://name, without port or path")
    return Url(scheme, host, port, "" if scheme == "memory" else path, query_text)


def _unix_path(rest: str) -> str:
    path = unquote(rest)
    if "\0" in path:
        raise ValueError("a path can't hold a NUL; the abstract space is written unix://@name")
    if not rest.startswith(("/", "@")) or len(path) < 2:
        raise ValueError("write unix:///absolute/path (three slashes), or unix://@name for the abstract space")
    return path


def _host_port(authority: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        host, bracket, tail = authority[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ValueError("an IPv6 address stands in brackets and the port behind them: [::1]:80")
        host = _ipv6(host)
        has_port, port_text = bool(tail), tail[1:]
    else:
        if authority.count(":") > 1:
            raise ValueError("an IPv6 address stands in brackets: [::1]:80")
        host, colon, port_text = authority.partition(":")
        has_port = bool(colon)
        if _BAD_IN_HOST.search(host):
            raise ValueError("the host holds a character that no name or address has")
    if len(host) > HOST_CHARS_MAX:
        raise ValueError(f"the host has more than {HOST_CHARS_MAX} characters")
    if not has_port:
        return host, None
    if not port_text:
        raise ValueError("the port is missing behind the colon")
    if not _DIGITS.fullmatch(port_text) or int(port_text) > PORT_MAX:
        raise ValueError(f"a port is a number from 0 to {PORT_MAX}")
    return host, int(port_text)


def _ipv6(text: str) -> str:
    """Checks an address with its scope, written `%eth0` (RFC 9844) or `%25eth0` (RFC 6874)."""
    from ipaddress import IPv6Address  # deferred: an import of 1.7 ms that most programs never need

    address, percent, scope = text.partition("%")
    if scope.startswith("25") and len(scope) > 2:
        scope = scope[2:]
    if percent and (not scope or not re.fullmatch(r"[A-Za-z0-9._~\-]{1,64}", scope)):
        raise ValueError("the scope behind % is the name or the number of an interface")
    try:
        IPv6Address(address)
    except ValueError:
        raise ValueError("what stands in the brackets is no IPv6 address") from None
    return f"{address}%{scope}" if percent else address


def _shown(text: str) -> str:
    """As much of a broken URL as holds no secret."""
    if "@" in text.removeprefix("unix://@"):
        found = _SCHEME.match(text)
        return (found[0] if found else "") + "..."
    shown = re.split(r"[?#]", text, maxsplit=1)[0]
    shown = _BAD_IN_URL.sub("\N{REPLACEMENT CHARACTER}", shown)
    return shown if len(shown) <= 100 else shown[:100] + "..."


def _pairs(query_text: str) -> Iterator[tuple[str, str]]:
    for part in query_text.split("&"):
        if part:
            name, _, value = part.partition("=")
            yield unquote(name), unquote(value)


def parse_options(
    url: Url, keywords: Mapping[str, Any], known: Mapping[str, Option], *, use_query: bool = True
) -> dict[str, Any]:
    """Options from the query and from keyword arguments, parsed and typed; only those that were given.

    Args:
        url: its query holds options, unless `use_query` is false.
        keywords: typed values, or text as in a query. They win over the query, but a name may not stand in both
            with two different values.
        known: every option that this scheme takes, by name.
        use_query: false where the query belongs to somebody else (`ws`).

    Raises:
        InvalidURL: an unknown option (the text names the known ones), a malformed value, a name given twice, a
            secret in the URL. No text shows the value of a secret.
    """
    given: dict[str, Any] = {}
    shown = url.redacted(known).partition("?")[0]
    for count, (name, text) in enumerate(_pairs(url.query_text) if use_query else (), 1):
        if count > URL_OPTIONS_MAX:
            raise InvalidURL(f"{shown}: more than {URL_OPTIONS_MAX} options")
        if name in given:
            raise InvalidURL(f"{shown}: option {name[:40]!r} is given twice")
        option = _known(name, known, shown)
        if option.secret:
            raise InvalidURL(f"{shown}: option {name!r} is a secret and refused in a URL; give it as a keyword")
        if option.keyword_only:
            raise InvalidURL(f"{shown}: option {name!r} is no part of a URL; give it as a keyword")
        given[name] = _value(option, text, shown)
    for name, raw in keywords.items():
        value = _value(_known(name, known, shown), raw, shown)
        if name in given and given[name] != value:
            raise InvalidURL(f"{shown}: option {name!r} is {given[name]!r} in the URL and {value!r} as a keyword")
        given[name] = value
    water_marks(given)
    return given


def _known(name: str, known: Mapping[str, Option], shown: str) -> Option:
    option = known.get(name)
    if option is not None:
        return option
    from difflib import get_close_matches  # deferred: only a mistake pays for the import

    close = get_close_matches(name[:40], known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    names = ", ".join(sorted(known))
    raise InvalidURL(f"{shown}: unknown option {name[:40]!r}{hint} Known options: {names}")


def _value(option: Option, raw: object, shown: str) -> Any:
    try:
        return option.parse(raw)
    except (ValueError, TypeError) as error:
        # A parser's text may quote the value.
        reason = "malformed value (not shown)" if option.secret else str(error)
        raise InvalidURL(f"{shown}: option {option.name!r}: {reason}") from None
