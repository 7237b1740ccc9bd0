"""Tokens by OAuth client credentials: taken when needed, renewed when they end.

Contract: RFC 6749, section 4.4. Id and secret travel in the body of a POST, never in the address.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from reverse_etl.configuration import DestinationConfig
from reverse_etl.errors import Denied, Refused
from reverse_etl.http import HttpClient

T = TypeVar("T")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_MARGIN_S = 60.0
"""A token is renewed so long before it ends, one of a shorter life at half of it."""


class ClientCredentials:
    """The token in use, shared by a destination's threads. Credentials ``client_id`` and
    ``client_secret``; ``client`` is asked for when a token is, so that making this connects to
    nothing. ``ended``: codes by which the tool denies a token that has ended. Raises Denied where
    the tool does not accept the credentials."""

    def __init__(
        self,
        config: DestinationConfig,
        path: str,
        client: Callable[[], HttpClient],
        ended: Collection[str],
    ) -> None:
        self._config, self._path, self._client, self._ended = config, path, client, ended
        self._lock = threading.Lock()
        self._answer: Mapping[str, Any] = {}
        self._ends = 0.0

    def token(self) -> str:
        """A token that has not ended yet, as far as the tool told."""
        return str(self._given()["access_token"])

    def told(self, name: str) -> str:
        """Something else the tool told along with the token; empty where it did not."""
        return str(self._given().get(name, ""))

    def tried(self, call: Callable[[Mapping[str, str]], T]) -> T:
        """A call with the token in its headers, made once more where the token ended meanwhile."""
        token = self.token()
        try:
            return call({"Authorization": f"Bearer {token}"})
        except Denied as denied:
            if denied.code not in self._ended:
                raise
        self._drop(token)
        return call({"Authorization": f"Bearer {self.token()}"})

    def _drop(self, token: str) -> None:
        """The tool no longer takes this token; whoever has a newer one keeps it."""
        with self._lock:
            if self._answer.get("access_token") == token:
                self._answer = {}

    def _given(self) -> Mapping[str, Any]:
        with self._lock:
            if not self._answer or time.monotonic() > self._ends:
                form = {
                    "grant_type": "client_credentials",
                    "client_id": self._config.credential("client_id"),
                    "client_secret": self._config.credential("client_secret"),
                }
                content = urlencode(form).encode()
                try:
                    answer = self._client().request(
                        "POST", self._path, content=content, headers=FORM
                    )
                except Refused as refused:
                    raise Denied(str(refused), code=refused.code) from None
                self._answer = answer.json()
                lasts = float(self._answer.get("expires_in", "inf"))
                self._ends = time.monotonic() + max(lasts - _MARGIN_S, lasts / 2)
            return self._answer
