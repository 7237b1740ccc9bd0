"""HTTP as every web destination needs it: paced, with time-outs, every failure classified.

Payloads are never logged, and what a tool answers is trimmed and scrubbed before it is shown.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from reverse_etl import pacing
from reverse_etl.addresses import PublicOnlyAdapter
from reverse_etl.configuration import is_loopback
from reverse_etl.errors import Denied, NotSent, RateLimited, Refused, Unknown, Unreachable
from reverse_etl.rate import RateBudget
from reverse_etl.values import as_json

Learn = Callable[[Mapping[str, str], RateBudget], None]
"""Reads an answer's headers about pace into the budget."""
CONNECT_SECONDS = 5.0
LONGEST_MESSAGE = 400
LARGEST_ANSWER = 64 * 1024 * 1024
_TAKEN_BACK = frozenset({408, 423, 425, 477, 503})
"""Answers that say the request was not processed: HubSpot's 477 is a migration under way."""


def basic(user: str, password: str) -> str:
    """The credentials of basic authentication (RFC 7617), as the Authorization header ends."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass(frozen=True)
class Answer:
    """A 2xx answer. That it is one says nothing yet about the rows in it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body. Raises Unknown when it is cut short or not JSON."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise Unknown("The answer is not readable as JSON.", code=str(self.status)) from None


class HttpClient:
    """One tool's API behind its base address.

    ``secrets`` never appear in an error. ``read_seconds`` bounds the whole answer, not only its
    first byte. ``learn`` reads the tool's headers about pace, by default the usual ones (see
    pacing). ``renew`` is called once after a 401 and gives new headers, for tools whose tokens
    expire. ``public_only`` refuses to talk to any address that is not on the public internet.
    """

    def __init__(
        self,
        base_url: str,
        budget: RateBudget,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        read_seconds: float = 30.0,
        connections: int = 8,
        learn: Learn = pacing.learn,
        renew: Callable[[], Mapping[str, str]] | None = None,
        public_only: bool = False,
    ) -> None:
        self._base_url = base_url
        self._budget = budget
        self._secrets = [secret for secret in secrets if secret]
        self._seconds = read_seconds
        self._learn = learn
        self._renew = renew
        self._session = requests.Session()
        self._session.headers.update(headers or {})
        self._session.auth = _as_given
        # on this machine a proxy would carry it elsewhere, and hides where an address really leads
        self._session.trust_env = not is_loopback(base_url) and not public_only
        adapter = PublicOnlyAdapter if public_only else HTTPAdapter
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, adapter(pool_maxsize=connections))

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()

    def request(
        self,
        method: str,
        path: str,
        payload: Any = None,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call. Raises NotSent, RateLimited, Unknown, Refused or Denied; see errors."""
        body = as_json(payload) if payload is not None else content
        given = dict(headers or {})
        if body is not None:
            given.setdefault("Content-Type", "application/json")
        answer = self._call(method, path, body, given)
        if answer.status == 401 and self._renew:
            self._session.headers.update(self._renew())
            answer = self._call(method, path, body, given)
        self._check(answer)
        return answer

    def found(self, method: str, path: str, payload: Any = None) -> Answer | None:
        """As ``request``; None where the tool does not have what is asked for (404)."""
        try:
            return self.request(method, path, payload)
        except Refused as refused:
            if refused.code != "404":
                raise
            return None

    def _call(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        with self._budget.call():
            answer = self._exchange(method, path, body, headers)
        self._learn(answer.headers, self._budget)
        return answer

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        deadline = time.monotonic() + self._seconds
        try:
            with self._session.request(
                method,
                self._base_url + path,
                data=body,
                headers=headers,
                timeout=(CONNECT_SECONDS, self._seconds),
                allow_redirects=False,  # a redirect would carry the credentials along
                stream=True,
            ) as response:
                return Answer(response.status_code, response.headers, _read(response, deadline))
        except requests.exceptions.SSLError:
            raise Denied("The tool's certificate is not valid.", code="tls") from None
        except requests.exceptions.ConnectTimeout:
            raise Unreachable("No connection within the time-out.", code="connect") from None
        except requests.exceptions.ConnectionError as error:
            if _never_connected(error):
                raise Unreachable("No connection could be made.", code="connect") from None
            raise Unknown("The connection broke before the answer.", code="reset") from None
        except (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError):
            raise Unknown("No answer within the time-out.", code="timeout") from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError) as error:
            raise Unknown(f"No readable answer ({type(error).__name__}).", code="broken") from None

    def _check(self, answer: Answer) -> None:
        status = answer.status
        if 200 <= status < 300:
            return
        message, code = self._shown(answer), str(status)
        pause = pacing.pause_asked(answer.headers)
        if status == 429:
            pause = 1.0 if pause is None else pause
            self._budget.pause(pause)
            raise RateLimited(message, code=code, retry_after=pause)
        if status in _TAKEN_BACK:
            raise NotSent(message, code=code, retry_after=pause)
        if status in (401, 403):
            raise Denied(message, code=code)
        if status >= 500:
            raise Unknown(message, code=code, retry_after=pause)
        if status < 400:
            message = f"The tool redirects ({status}); redirects are not followed."
        raise Refused(message, code=code)

    def _shown(self, answer: Answer) -> str:
        """The tool's own words, without line breaks and without what is ours to hide."""
        text = answer.body.decode(errors="replace")
        with suppress(orjson.JSONDecodeError):
            text = _words(orjson.loads(answer.body)) or text
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())[:LONGEST_MESSAGE] or f"HTTP {answer.status}"


def _words(said: Any) -> str:
    """What an answer says for people: its own message, and that of the first error in a list, as
    Klaviyo (detail), Braze (type) and Salesforce (a list and nothing else) write them."""
    words, errors = "", said
    if isinstance(said, dict):
        told = said.get("message") or said.get("error")
        words, errors = told if isinstance(told, str) else "", said.get("errors")
    if isinstance(errors, list) and errors and isinstance(first := errors[0], dict):
        names = ("detail", "message", "type")
        more = next((str(first[name]) for name in names if first.get(name)), "")
        code = f"{first['errorCode']}: " if first.get("errorCode") else ""
        words = f"{words} {code}{more}" if more not in words else words
    return words.strip()


def _read(response: requests.Response, deadline: float) -> bytes:
    """The body as it comes in, piece by piece: a tool that drips is as late as one that waits."""
    pieces, size = [], 0
    while piece := response.raw.read1(65_536, decode_content=True):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > deadline:
            raise Unknown("The answer did not end within the time-out.", code="timeout")
        if size > LARGEST_ANSWER:
            raise Unknown("The answer has no end.", code="size")
    return b"".join(pieces)


def _as_given(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Credentials come from the environment alone: requests would look for a .netrc file."""
    return request


def _never_connected(error: requests.exceptions.ConnectionError) -> bool:
    reason = error.args[0] if error.args else None
    if isinstance(reason, urllib3.exceptions.MaxRetryError):
        reason = reason.reason
    return isinstance(reason, urllib3.exceptions.NewConnectionError)
