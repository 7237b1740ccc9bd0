"""HTTP as every web destination needs it: paced, with time-outs, every failure classified.

Payloads are never logged, and what a tool answers is trimmed and scrubbed before it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter

from reverse_etl.configuration import is_loopback
from reverse_etl.errors import Denied, NotSent, RateLimited, Refused, Unknown, Unreachable
from reverse_etl.rate import RateBudget
from reverse_etl.values import as_json

CONNECT_SECONDS = 5.0
LONGEST_MESSAGE = 400
_TAKEN_BACK = frozenset({408, 423, 425, 477, 503})
"""Answers that say the request was not processed: HubSpot's 477 is a migration under way."""


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
    """One tool's API behind its base address. ``secrets`` never appear in an error."""

    def __init__(
        self,
        base_url: str,
        budget: RateBudget,
        *,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        read_seconds: float = 30.0,
        connections: int = 8,
        learn: Callable[[Mapping[str, str], RateBudget], None] | None = None,
    ) -> None:
        self._base_url = base_url
        self._budget = budget
        self._secrets = [secret for secret in secrets if secret]
        self._timeout = (CONNECT_SECONDS, read_seconds)
        self._learn = learn
        self._session = requests.Session()
        self._session.headers.update(headers or {})
        self._session.trust_env = not is_loopback(base_url)  # a proxy would carry it elsewhere
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=connections))

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
        with self._budget.call():
            response = self._exchange(method, path, body, given)
        if self._learn:
            self._learn(response.headers, self._budget)
        self._check(response)
        return Answer(response.status_code, response.headers, response.content)

    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                self._base_url + path,
                data=body,
                headers=headers,
                timeout=self._timeout,
                allow_redirects=False,  # a redirect would carry the credentials along
            )
        except requests.exceptions.SSLError:
            raise Denied("The tool's certificate is not valid.", code="tls") from None
        except requests.exceptions.ConnectTimeout:
            raise Unreachable("No connection within the time-out.", code="connect") from None
        except requests.exceptions.ConnectionError as error:
            if _never_connected(error):
                raise Unreachable("No connection could be made.", code="connect") from None
            raise Unknown("The connection broke before the answer.", code="reset") from None
        except requests.exceptions.ReadTimeout:
            raise Unknown("No answer within the time-out.", code="timeout") from None
        except requests.exceptions.RequestException as error:
            raise Unknown(f"No readable answer ({type(error).__name__}).", code="broken") from None

    def _check(self, response: requests.Response) -> None:
        status = response.status_code
        if 200 <= status < 300:
            return
        message, code, pause = self._shown(response), str(status), _retry_after(response)
        if status == 429:
            self._budget.pause(pause or 1.0)
            raise RateLimited(message, code=code, retry_after=pause or 1.0)
        if status in _TAKEN_BACK:
            raise NotSent(message, code=code, retry_after=pause)
        if status in (401, 403):
            raise Denied(message, code=code)
        if status >= 500:
            raise Unknown(message, code=code, retry_after=pause)
        if status < 400:
            message = f"The tool redirects ({status}); redirects are not followed."
        raise Refused(message, code=code)

    def _shown(self, response: requests.Response) -> str:
        """The tool's own words, without line breaks and without what is ours to hide."""
        text = response.text
        try:
            said = orjson.loads(text)
            text = str(said.get("message") or said.get("error") or text)
        except (orjson.JSONDecodeError, AttributeError):
            pass
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())[:LONGEST_MESSAGE] or f"HTTP {response.status_code}"


def _never_connected(error: requests.exceptions.ConnectionError) -> bool:
    reason = error.args[0] if error.args else None
    if isinstance(reason, urllib3.exceptions.MaxRetryError):
        reason = reason.reason
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _retry_after(response: requests.Response) -> float | None:
    """Retry-After in seconds: written as seconds or as an HTTP date."""
    text = response.headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
