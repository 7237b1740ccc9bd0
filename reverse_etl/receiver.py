"""``reverse-etl receive``: a small service for opt-outs by mail, and for the webhooks of tools.

``/unsubscribe?t=<token>``: RFC 8058. A POST with the mail's signed token opts out; a GET, which
mail programs and scanners make by themselves, only shows a page with a button.
``/webhooks/<destination>``: what a tool signs is kept; what nobody signed, or signed long ago, is
refused. A fact told twice is one. Neither tokens nor bodies are logged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import jinja2
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from reverse_etl import log, unsubscribe
from reverse_etl.clock import Clock, utc_now
from reverse_etl.configuration import load_configuration
from reverse_etl.destinations.base import Destination, understood
from reverse_etl.errors import Denied, DestinationFault, Unknown, UserError
from reverse_etl.feedback import Feedback
from reverse_etl.ledger import Ledger
from reverse_etl.pulling import opened
from reverse_etl.settings import Settings

LARGEST_FORM, LARGEST_WEBHOOK = 4_096, 1_000_000
_PAGE = (Path(__file__).parent / "pages" / "unsubscribe.html.j2").read_text(encoding="utf-8")
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self';"
    " frame-ancestors 'none'",
}


class TooLarge(Exception):  # noqa: N818 - an answer, not an accident
    """A body longer than anybody sends."""


class Receiver:
    """The service over one ledger and the configured destinations, by name."""

    def __init__(
        self, ledger: Ledger, destinations: Mapping[str, Destination], clock: Clock = utc_now
    ) -> None:
        self._ledger = ledger
        self._destinations = destinations
        self._clock = clock
        self._page = jinja2.Environment(autoescape=True).from_string(_PAGE)
        self._keys = {
            name: destination.config.credential("unsubscribe_key")
            for name, destination in destinations.items()
            if "unsubscribe_key" in destination.config.credentials
        }

    @property
    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/unsubscribe", self._show, methods=["GET"]),
                Route("/unsubscribe", self._opt_out, methods=["POST"]),
                Route("/webhooks/{destination}", self._webhook, methods=["POST"]),
                Route("/health", self._health, methods=["GET"]),
            ]
        )

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"receiver": "ready"})

    async def _show(self, request: Request) -> Response:
        """Changes nothing: whoever only looks has not decided."""
        known = self._meant(request)
        return self._shown(request, "ask" if known else "invalid", 200 if known else 400)

    async def _opt_out(self, request: Request) -> Response:
        try:
            form = await _body(request, LARGEST_FORM)
        except TooLarge:
            return Response(status_code=413)
        except ClientDisconnect:
            return Response(status_code=400)
        meant = self._meant(request)
        if meant is None or b"List-Unsubscribe" not in form or b"One-Click" not in form:
            return self._shown(request, "invalid", 400)
        destination, contact = meant
        fact = Feedback(
            f"one-click:{contact}", "unsubscribed", "", self._clock(), contact_id=contact
        )
        await run_in_threadpool(self._keep, self._destinations[destination], [fact])
        return self._shown(request, "done", 200)

    async def _webhook(self, request: Request) -> Response:
        destination = self._destinations.get(request.path_params["destination"])
        if destination is None:
            return JSONResponse({"error": "no such destination"}, 404)
        try:
            body = await _body(request, LARGEST_WEBHOOK)
        except TooLarge:
            return JSONResponse({"error": "too large"}, 413)
        except ClientDisconnect:
            return Response(status_code=400)
        name = destination.config.name
        try:
            facts = await run_in_threadpool(_received, destination, request.headers, body)
        except Denied as denied:
            log.event("webhook refused", destination=name, code=denied.code)
            return JSONResponse({"error": str(denied)}, 401)
        except Unknown as unknown:
            if unknown.code != "contract":
                return JSONResponse({"error": "try again"}, 503)
            return JSONResponse({"error": "not as documented"}, 400)
        except (DestinationFault, UserError) as fault:  # such as a signing key that is not written
            log.event("webhook not taken", logging.WARNING, destination=name, why=str(fault))
            return JSONResponse({"error": "try again"}, 503)
        await run_in_threadpool(self._keep, destination, facts)
        return JSONResponse({"received": len(facts)})

    def _keep(self, destination: Destination, facts: list[Feedback]) -> None:
        name = destination.config.name
        kept = self._ledger.feedback.keep(name, destination.account, facts)
        log.event("received", destination=name, new=kept.new, stopped=kept.stopped)

    def _meant(self, request: Request) -> tuple[str, str] | None:
        """The destination that signed the token, and the contact; None where nobody did."""
        token = request.query_params.get("t", "")
        for name, key in self._keys.items():
            if contact := unsubscribe.contact_of(token, key):
                return name, contact
        return None

    def _shown(self, request: Request, state: str, status: int) -> Response:
        wanted = request.headers.get("accept-language", "").strip().lower()
        language = "ja" if wanted.startswith("ja") else "en"
        token = request.query_params.get("t", "") if state == "ask" else ""
        page = self._page.render(state=state, language=language, token=token)
        return HTMLResponse(page, status, _HEADERS | {"Content-Language": language})


def _received(destination: Destination, headers: Mapping[str, str], body: bytes) -> list[Feedback]:
    with understood():
        return destination.receive(headers, body)


async def _body(request: Request, most: int) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body.extend(piece)
        if len(body) > most:
            raise TooLarge
    return bytes(body)


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until interrupted. Raises UserError where the key of opt-out links is not set; what
    else is not set is told in the log when a webhook asks for it."""
    configuration = load_configuration(settings)
    names = sorted(configuration.destinations)
    with opened(settings, configuration, names, utc_now) as (ledger, destinations):
        application = Receiver(ledger, destinations).app
        uvicorn.run(
            application,
            host=host,
            port=port,
            access_log=False,  # addresses of requests hold tokens
            log_level="warning",
            server_header=False,
        )


def instant_of(text: str) -> datetime:
    """A day or an instant as typed, in UTC. Raises UserError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"--since is {text!r}. Write a day, as 2026-10-28.") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
