"""What stands before a review's server: without the token, or from elsewhere, nothing answers and nothing is done."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.review_client import PORT, TOKEN, Answer, Client

from debride.review.guarded import HEADERS, POLICY, Guarded

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT")

PATHS = ("", "api/about", "api/items/1/decision", "api/items/1/edit", "static/review.js", "nothing")

JSON = ("content-type", "application/json")


class Inner:
    """An application that says which paths reached it, with headers that would open it to others."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append(scope["path"])
        headers = [(b"Cache-Control", b"public"), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def client(inner: Inner) -> Client:
    return Client(Guarded(inner, TOKEN, PORT))


def shut(answer: Answer) -> bool:
    """Whether an answer says nothing, and lets no other page read it."""
    strange = [name for name in answer.headers if name.startswith("access-control")]
    return answer.body in (b"", str(answer.status).encode()) and not strange and HEADERS.items() <= answer.headers.items()


@pytest.mark.parametrize("method", METHODS)
def test_nothing_answers_without_the_token(client: Client, inner: Inner, method: str) -> None:
    wrong = ("", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "a" * 10_000, "..", "\xff\xfe", f" {TOKEN}", f"{TOKEN}%20")
    for token in wrong:
        for path in PATHS:
            answer = client.ask(method, f"/{token}/{path}", b"{}", [JSON])
            assert answer.status == 404 and shut(answer)
    for raw in (
        "/",
        "",
        f"/{TOKEN}",
        f"//{TOKEN}/",
        f"/x/../{TOKEN}/",
        f"/./{TOKEN}/",
        f"/{TOKEN}?x",
        "*",
        f"http://h/{TOKEN}/",
    ):
        assert client.ask(method, raw).status == 404
    assert not inner.reached


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "%2e%2e/x",
        "static/..%2f..%2fx",
        "static//x",
        "/x",
        "a\\b",
        "static/%00",
        "a/../b",
        "..",
        "a%",
        "a b",
        "é",
        "a\n",
    ],
)
def test_paths_are_plain(client: Client, inner: Inner, path: str) -> None:
    answer = client.ask("GET", f"/{TOKEN}/{path}")
    assert answer.status == 404 and shut(answer) and not inner.reached


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        ["evil.example"],
        [f"evil.example:{PORT}"],
        ["127.0.0.1"],
        [f"127.0.0.1:{PORT + 1}"],
        [f"127.0.0.1:{PORT}.evil.example"],
        [f"0.0.0.0:{PORT}"],
        [f"[::1]:{PORT}"],
        [f"127.0.0.1:{PORT}", "evil.example"],
        [""],
    ],
)
def test_other_names_of_this_machine_are_refused(client: Client, inner: Inner, hosts: list[str]) -> None:
    """A page elsewhere may give its own name this machine's address: its requests carry that name."""
    for method in ("GET", "POST"):
        answer = client.ask(method, f"/{TOKEN}/", b"{}", [("host", host) for host in hosts] + [JSON], host=False)
        assert answer.status == 404 and shut(answer) and not inner.reached


@pytest.mark.parametrize(
    "headers",
    [
        [("origin", "http://evil.example")],
        [("origin", "null")],
        [("origin", f"http://127.0.0.1:{PORT + 1}")],
        [("origin", f"https://127.0.0.1:{PORT}")],
        [("origin", f"http://localhost:{PORT}")],  # the host is 127.0.0.1
        [("origin", "")],
        [("origin", f"http://127.0.0.1:{PORT}"), ("origin", "http://evil.example")],
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],
        [("sec-fetch-site", "")],
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")],
        [("upgrade", "websocket"), ("connection", "Upgrade")],
    ],
)
def test_pages_from_elsewhere_are_refused(client: Client, inner: Inner, headers: list[tuple[str, str]]) -> None:
    for method, path in (("POST", "api/items/1/decision"), ("POST", "api/items/1/edit"), ("GET", "api/items")):
        answer = client.ask(method, f"/{TOKEN}/{path}", b"{}", [JSON, *headers])
        assert answer.status == 403 and shut(answer)
    assert not inner.reached


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain;application/json"],
)
def test_what_forms_can_send_is_refused(client: Client, inner: Inner, kind: str) -> None:
    """These need no question (CORS preflight) of the browser."""
    body = json.dumps({"decision": "accept", "sent": "x", "comment": ""}).encode()
    answer = client.ask("POST", f"/{TOKEN}/api/items/1/decision", body, [("content-type", kind)] if kind else [])
    assert answer.status == 415 and shut(answer) and not inner.reached


def test_our_own_page_is_answered(client: Client, inner: Inner) -> None:
    own = [("origin", f"http://127.0.0.1:{PORT}"), ("sec-fetch-site", "same-origin"), JSON]
    answer = client.ask("POST", f"/{TOKEN}/api/items/1/decision", b"{}", own)
    assert answer.status == 200 and HEADERS.items() <= answer.headers.items()
    local = [("host", f"localhost:{PORT}"), ("origin", f"http://localhost:{PORT}"), JSON]
    assert client.ask("POST", f"/{TOKEN}/x", b"{}", local, host=False).status == 200
    typed = [("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")]
    assert client.ask("GET", f"/{TOKEN}/", headers=typed).status == 200
    followed = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]  # as from a terminal that is a page
    assert client.ask("GET", f"/{TOKEN}/", headers=followed).status == 200
    assert inner.reached == ["/api/items/1/decision", "/x", "/", "/"]


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "CONNECT"])
def test_no_question_of_another_origin_is_answered(client: Client, inner: Inner, method: str) -> None:
    asked = [("access-control-request-method", "POST"), ("access-control-request-headers", "content-type")]
    answer = client.ask(method, f"/{TOKEN}/api/items/1/decision", headers=asked)
    assert answer.status == 405 and shut(answer) and not inner.reached


def test_a_web_socket_is_closed(inner: Inner) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": f"/{TOKEN}/", "headers": [(b"host", f"127.0.0.1:{PORT}".encode())]}
    asyncio.run(Guarded(inner, TOKEN, PORT)(scope, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"] and not inner.reached


def test_the_policy_names_no_other_place() -> None:
    words = dict(each.strip().split(" ", 1) for each in POLICY.split(";"))
    assert words["default-src"] == words["frame-ancestors"] == words["form-action"] == words["base-uri"] == "'none'"
    assert set(" ".join(words.values()).split()) == {"'none'", "'self'", "data:"} and words["img-src"].endswith("data:")
