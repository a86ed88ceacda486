"""Who sees the page: nobody without the token, no page of others, nobody by a borrowed name."""

import asyncio
import http.client
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from kinestream.stream.binding import BindError
from kinestream.tools.web.guard import Guard

pytest.importorskip("viser", reason="needs the extra 'web'")
import viser
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from kinestream.body.arrays import read_body
from kinestream.tools.web.page import Page

HERE = "127.0.0.1:8080"


@pytest.mark.parametrize("host", [HERE, "localhost:8080", "[::1]:9000"])
def test_this_computer_is_welcome_on_loopback(host: str) -> None:
    guard = Guard(token=None)
    assert guard.objection("/", [], [host]) is None
    assert guard.objection("/", [f"http://{host}"], [host]) is None


@pytest.mark.parametrize(
    ("origins", "hosts"),
    [
        (["http://evil.example"], [HERE]),
        (["null"], [HERE]),
        (["http://127.0.0.1:9999"], [HERE]),  # another page of this computer
        ([f"http://{HERE}", "http://evil.example"], [HERE]),
        ([], ["evil.example:8080"]),  # a name that was made to mean this computer
        (["http://evil.example:8080"], ["evil.example:8080"]),
        ([], []),
        ([], [HERE, HERE]),
        ([], ["127.0.0.1/; script-src *"]),
    ],
)
def test_others_are_not(origins: list[str], hosts: list[str]) -> None:
    assert Guard(token=None).objection("/", origins, hosts)


@pytest.mark.parametrize(
    "path", ["/", "", "/wrong", "/?token=secret", "/x/secret", "/secre", "/secret2", "//secret"]
)
def test_a_token_must_be_right(path: str) -> None:
    guard = Guard(token="secret")
    assert "token" in (guard.objection(path, [], ["192.0.2.7:8080"]) or "")


def test_a_token_lets_in_whatever_the_host_is_called_but_no_other_page() -> None:
    guard = Guard(token="secret")
    for path in ("/secret", "/secret/", "/secret?x=1"):
        assert guard.objection(path, ["http://camera.local:8080"], ["camera.local:8080"]) is None
    assert guard.objection("/secret", ["http://evil.example"], ["camera.local:8080"])


@pytest.fixture(scope="module", params=["127.0.0.1:0", "0.0.0.0:0"])
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    with Page(request.param, read_body()) as page:
        yield page


def status(page: Page, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(page.url).port or 0, timeout=30)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    assert (b"<html" in response.read()) == (response.status == 200)
    return response.status


def websocket(page: Page, path: str, origin: str | None) -> bool:
    """Whether a WebSocket there opens and says anything."""

    async def ask() -> bool:
        address = f"ws://127.0.0.1:{urlsplit(page.url).port}{path}"
        opened = connect(address, origin=origin, subprotocols=[f"viser-v{viser.__version__}"])  # type: ignore[arg-type, list-item]
        try:
            async with opened as connection:
                return len(await asyncio.wait_for(connection.recv(), 30)) > 0
        except InvalidStatus as error:
            return error.response.status_code != 403

    return asyncio.run(ask())


def test_what_is_served_and_to_whom(page: Page) -> None:
    parts = urlsplit(page.url)
    right, own = parts.path, f"http://127.0.0.1:{parts.port}"
    assert status(page, right) == 200
    assert websocket(page, right, own) and websocket(page, right, None)
    before = page.refused
    assert status(page, right, Origin="http://evil.example") == 403
    assert not websocket(page, right, "http://evil.example")
    assert page.refused == before + 2


def test_nobody_sees_a_page_for_others_without_its_token(page: Page) -> None:
    path = urlsplit(page.url).path
    if path == "/":
        pytest.skip("a page for this computer alone has no token")
    assert len(path) > 20
    for wrong in ("/", path[:-1], path + "x", "/index.html"):
        assert status(page, wrong) == 403
        assert not websocket(page, wrong, None)


def test_a_page_on_loopback_is_not_reached_by_another_name(page: Page) -> None:
    if urlsplit(page.url).path != "/":
        pytest.skip("the token answers for the name")
    assert status(page, "/", Host="evil.example") == 403


def test_two_pages_cannot_share_a_port_and_a_port_is_no_word(page: Page) -> None:
    port = urlsplit(page.url).port
    with pytest.raises(BindError, match="in use"):
        Page(f"127.0.0.1:{port}", read_body())
    with pytest.raises(BindError, match="HOST:PORT"):
        Page("clip.mp4", read_body())


def test_no_browser_opens_the_page_to_the_world(page: Page) -> None:
    """viser lets any client ask for a public address at a relay; ours makes none."""
    assert page._server.request_share_url() is None
