"""URLs: every form that is read, every mistake that is refused, and no secret in any text."""

from __future__ import annotations

import pickle
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport import limits, options
from transport.errors import InvalidURL, TransportError
from transport.url import COMMON, SOCKET, Option, Url, parse, parse_options, quote, unquote, water_marks

KNOWN = {**COMMON, **SOCKET, "psk": Option("psk", options.text, "shared key", secret=True)}


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("tcp://127.0.0.1:80", "127.0.0.1", 80, ""),
        ("TCP://127.0.0.1:0", "127.0.0.1", 0, ""),
        ("tcp://127.0.0.1:65535/", "127.0.0.1", 65535, ""),
        ("tcp://[::1]:80", "::1", 80, ""),
        ("udp://[fe80::1%eth0]:80", "fe80::1%eth0", 80, ""),
        ("udp://[fe80::1%25eth0]:80", "fe80::1%eth0", 80, ""),
        ("udp://[fe80::1%25]:80", "fe80::1%25", 80, ""),
        ("udp://[fe80::1%2]:80", "fe80::1%2", 80, ""),
        ("tls://some-name.example:443", "some-name.example", 443, ""),
        ("tcp://bücher.example:80", "bücher.example", 80, ""),
        ("udp://239.1.2.3:5000?interface=eth0&ttl=1", "239.1.2.3", 5000, ""),
        ("unix:///run/a%20b.sock", "", None, "/run/a b.sock"),
        ("unix:///run/100%25.sock", "", None, "/run/100%.sock"),
        ("unix:///run/%FF", "", None, "/run/\udcff"),
        ("unix://@abstract/name", "", None, "@abstract/name"),
        ("memory://name?loss=0.02&delay=20ms", "name", None, ""),
        ("ws://host/chat/room?a=1", "host", 80, "/chat/room"),
        ("wss://host", "host", 443, ""),
        ("serial:///dev/ttyUSB0", "", None, "/dev/ttyUSB0"),
        ("x-y.z+1://host", "host", None, ""),
    ],
)
def test_forms(text: str, host: str, port: int | None, path: str) -> None:
    url = parse(text)
    assert url.scheme == text.partition(":")[0].lower()
    assert (url.host, url.port, url.path) == (host, port, path)
    assert parse(str(url)) == url
    assert hash(parse(str(url))) == hash(url)
    assert pickle.loads(pickle.dumps(url)) == url
    assert parse(url) is url


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "begins with a scheme"),
        ("127.0.0.1:80", "begins with a scheme"),
        ("tcp:/x", "begins with a scheme"),
        ("1tcp://x:1", "begins with a scheme"),
        ("a" * 33 + "://x:1", "begins with a scheme"),
        ("tcp://", "host is missing"),
        ("tcp://:80", "host is missing"),
        ("tcp://127.0.0.1", "port is missing: write tcp://host:port"),
        ("tcp://127.0.0.1:", "port is missing behind"),
        ("tcp://[::1]", "port is missing"),
        ("tcp://[::1]80", "stands in brackets"),
        ("tcp://[::1:80", "stands in brackets"),
        ("tcp://::1:80", "stands in brackets"),
        ("tcp://[127.0.0.1]:80", "no IPv6 address"),
        ("tcp://[zz::1]:80", "no IPv6 address"),
        ("tcp://[fe80::1%]:80", "scope"),
        ("tcp://[fe80::1%a%b]:80", "scope"),
        ("tcp://h:65536", "0 to 65535"),
        ("tcp://h:-1", "0 to 65535"),
        ("tcp://h:+1", "0 to 65535"),
        ("tcp://h:1_0", "0 to 65535"),
        ("tcp://h:\u0661", "0 to 65535"),
        ("tcp://h:" + "9" * 5000, "0 to 65535"),
        ("tcp://a b:80", "percent-encoded"),
        ("tcp://a\n:80", "percent-encoded"),
        ("tcp://a\x00:80", "percent-encoded"),
        ("tcp://a%20b:80", "character that no name"),
        ("tcp://a,b:80", "character that no name"),
        ("tcp://h:80/path", "takes no path"),
        ("tcp://h:80#x", "fragment"),
        ("tcp://h:80?a=%", "percent sign itself"),
        ("tcp://h:80?a=%zz", "percent sign itself"),
        ("unix://run/x.sock", "three slashes"),
        ("unix:///", "three slashes"),
        ("unix://", "three slashes"),
        ("unix://@", "three slashes"),
        ("unix:///a%00b", "NUL"),
        ("ws://h/%00", "NUL"),
        ("memory://", "memory://name"),
        ("memory://name:80", "memory://name"),
        ("memory://name/x", "memory://name"),
        ("tcp://" + "h" * 321 + ":80", "more than 320"),
        ("tcp://h:80?x=" + "y" * limits.URL_CHARS_MAX, "over the limit of 8192"),
    ],
)
def test_mistakes(text: str, says: str) -> None:
    with pytest.raises(InvalidURL, match=re.escape(says)) as caught:
        parse(text)
    assert isinstance(caught.value, TransportError)
    assert len(str(caught.value)) < 500


def test_a_url_is_text() -> None:
    with pytest.raises(InvalidURL, match="not bytes"):
        parse(b"tcp://x:1")  # type: ignore[arg-type]


def test_the_limit_on_length_is_inclusive() -> None:
    text = "tcp://h:80?x="
    assert parse(text + "y" * (limits.URL_CHARS_MAX - len(text))).host == "h"


@pytest.mark.parametrize(
    "text",
    [
        "tcp://hunter2@h:80",
        "tcp://user:hunter2@h:80",
        "tcp://user:hunter2/x@h:80",
        "tcp://user:hunter2?x@h:80",
        "user:hunter2@h:80",
        "tcp://u:hunter2 @h:80",
        "tcp://h?psk=hunter2",
        "tcp://h:80?psk=hunter2%zz",
        "tcp://h:80?psk=hunter2#",
        "tcp://h:80#hunter2",
        "ws://user:hunter2@h/",
    ],
)
def test_a_broken_url_shows_no_secret(text: str) -> None:
    with pytest.raises(InvalidURL) as caught:
        parse(text)
    assert "hunter2" not in str(caught.value)
    shown = caught.value.__cause__ or (None if caught.value.__suppress_context__ else caught.value.__context__)
    assert shown is None  # a traceback would print it


def test_user_information_is_named_as_such() -> None:
    with pytest.raises(InvalidURL, match="user names and passwords are refused"):
        parse("tcp://user:pw@h:80")


def test_redacted() -> None:
    url = parse("tcp://h:80?password=hunter2&api_key=hunter2&x=1&psk=hunter2&pin=4711&flag")
    known = {"pin": Option("pin", options.text, "", secret=True)}
    assert url.redacted(known) == "tcp://h:80?password=***&api_key=***&x=1&psk=***&pin=***&flag"
    assert "hunter2" not in repr(url)
    assert "hunter2" in str(url)
    assert repr(parse("tcp://h:80")) == "Url('tcp://h:80')"
    assert parse("ws://h/room/token?t=1").redacted() == "ws://h:80/...?..."
    assert parse("ws://h/").redacted() == "ws://h:80/"


def test_scope_that_begins_with_digits_of_a_percent_sign() -> None:
    url = Url("tcp", "fe80::1%251", 80)
    assert str(url) == "tcp://[fe80::1%25251]:80"
    assert parse(str(url)) == url


def test_with_port_and_replace() -> None:
    url = parse("tcp://[::1]:0?nodelay=no")
    assert str(url.with_port(4711)) == "tcp://[::1]:4711?nodelay=no"
    assert url.replace(query_text="") == parse("tcp://[::1]:0")
    assert parse("unix:///a").replace(path="/b c") == parse("unix:///b%20c")
    for port in (-1, 65536):
        with pytest.raises(InvalidURL, match="0 to 65535"):
            url.with_port(port)
    with pytest.raises(InvalidURL):
        url.replace(host="a b")
    with pytest.raises(InvalidURL):
        url.replace(host="evil/x")


def test_endpoint() -> None:
    assert parse("tcp://[::1]:80").endpoint() == ("::1", 80)
    with pytest.raises(InvalidURL, match="host is missing"):
        parse("serial:///dev/x").endpoint()
    with pytest.raises(InvalidURL, match="port is missing"):
        parse("other://host").endpoint()


def test_query_is_decoded() -> None:
    url = parse("memory://n?a=1%262&b&c=x=y&%64=%C3%BC&a=last&&")
    assert url.query == {"a": "last", "b": "", "c": "x=y", "d": "ü"}
    assert parse("tcp://h:1").query == {}


@given(st.binary(max_size=60).map(lambda data: data.decode("utf-8", "surrogateescape")))
@settings(derandomize=True)
def test_quote_is_undone(text: str) -> None:
    assert unquote(quote(text)) == text
    assert quote(text).isascii()


@given(st.text(max_size=60))
@settings(derandomize=True)
def test_any_text_parses_or_is_refused(text: str) -> None:
    for prefix in ("", "tcp://", "tcp://h:1?", "unix:///", "tcp://[", "memory://", "ws://h/"):
        try:
            url = parse(prefix + text)
        except InvalidURL:
            continue
        assert parse(str(url)) == url


def options_of(query: str, **keywords: object) -> dict[str, object]:
    return parse_options(parse("tcp://h:80" + query), keywords, KNOWN)


def test_options_from_both_sides() -> None:
    assert options_of("") == {}
    given_options = options_of("?max_message=1MiB&keepalive=none&nodelay", idle_timeout="1.5s", dscp=46)
    assert given_options == {
        "max_message": 2**20, "keepalive": None, "nodelay": True, "idle_timeout": 1.5, "dscp": 46,
    }  # fmt: skip
    assert options_of("?max_message=64k", max_message=65536) == {"max_message": 65536}
    with pytest.raises(InvalidURL, match="65536 in the URL and 1 as a keyword"):
        options_of("?max_message=64k", max_message=1)


def test_the_query_may_belong_to_somebody_else() -> None:
    url = parse("ws://h/?token=1&token=2")
    assert parse_options(url, {"dscp": 1}, KNOWN, use_query=False) == {"dscp": 1}


def test_unknown_options_name_the_known_ones() -> None:
    with pytest.raises(InvalidURL, match=r"unknown option 'no_delay'; did you mean 'nodelay'\? Known options: .*dscp"):
        options_of("?no_delay=1")
    with pytest.raises(InvalidURL, match=r"unknown option 'zzz'\. Known options: auto_pause, backlog"):
        options_of("", zzz=1)
    with pytest.raises(InvalidURL) as caught:
        options_of("", pasword="hunter2")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InvalidURL) as caught:
        options_of("?" + "x" * 5000 + "=1")
    assert len(str(caught.value)) < 500


def test_options_given_twice_or_too_many() -> None:
    with pytest.raises(InvalidURL, match="'dscp' is given twice"):
        options_of("?dscp=1&dscp=1")
    known = options.table(*[Option(f"o{i}", options.text, "") for i in range(limits.URL_OPTIONS_MAX + 1)])
    query = "&".join(f"o{i}=1" for i in range(limits.URL_OPTIONS_MAX))
    assert len(parse_options(parse(f"tcp://h:1?{query}"), {}, known)) == limits.URL_OPTIONS_MAX
    with pytest.raises(InvalidURL, match="more than 64 options"):
        parse_options(parse(f"tcp://h:1?{query}&o{limits.URL_OPTIONS_MAX}=1"), {}, known)


def test_secrets() -> None:
    assert options_of("", psk="hunter2") == {"psk": "hunter2"}
    wrong: list[tuple[str, dict[str, object]]] = [
        ("?psk=hunter2", {}), ("", {"psk": "hunter2\n"}), ("", {"psk": b"hunter2"})]  # fmt: skip
    for query, keywords in wrong:
        with pytest.raises(InvalidURL) as caught:
            options_of(query, **keywords)
        assert "hunter2" not in str(caught.value)
        assert "'psk'" in str(caught.value)
    with pytest.raises(InvalidURL, match="no part of a URL"):
        options_of("?connect_timeout=1")
    assert options_of("", connect_timeout=1) == {"connect_timeout": 1.0}


def test_water_marks() -> None:
    assert water_marks({}) == (limits.HIGH_WATER_BYTES, limits.LOW_WATER_BYTES)
    assert water_marks({"high_water": 1000}) == (1000, 250)
    assert water_marks({"high_water": 10**8}) == (10**8, limits.LOW_WATER_BYTES)
    with pytest.raises(InvalidURL, match="'low_water' of 2 bytes is above"):
        options_of("?low_water=2&high_water=1")
    with pytest.raises(InvalidURL):
        options_of("", low_water=limits.HIGH_WATER_BYTES + 1)
