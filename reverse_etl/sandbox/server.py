"""The sandbox server: HTTP vendors, an SMTP inbox and the page, on one event loop."""

import asyncio
import logging
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from reverse_etl.sandbox.faults import Connections, Fault, Faults
from reverse_etl.sandbox.page import Page
from reverse_etl.sandbox.smtp import Inbox
from reverse_etl.sandbox.store import Store, instant
from reverse_etl.sandbox.vendor import Context, Exchange, RateLimit, Vendor, vendor_types

PORTAL = Path(__file__).with_name("portal.yml")


class SandboxError(Exception):
    """The sandbox cannot start; the message names what is wrong and the fix."""


class Sandbox:
    """The vendors' tools on this machine.

    As a context manager it runs in a thread of its own; `serve_forever` runs in the caller's.
    A port of 0 takes a free one. `limits` overrides a vendor's rate limit from portal.yml, by
    vendor name. Raises SandboxError when a port is taken, the store cannot be opened or the
    portal file is not valid.
    """

    def __init__(
        self,
        store_path: Path,
        host: str = "127.0.0.1",
        http_port: int = 0,
        smtp_port: int = 0,
        limits: Mapping[str, RateLimit] | None = None,
        portal: Path = PORTAL,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store_path = store_path
        self._host = host
        self._ports = {"HTTP": http_port, "SMTP": smtp_port}
        self._limits = limits or {}
        self._portal = portal
        self._clock = clock
        self._sockets: list[socket.socket] = []
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None
        self._failure: BaseException | None = None

    @property
    def http_url(self) -> str:
        """Base of all HTTP vendors: a client's base_url is `<http_url>/<vendor>`."""
        return f"http://{_bracketed(self._host)}:{self._ports['HTTP']}"

    @property
    def smtp_host(self) -> str:
        return self._host

    @property
    def smtp_port(self) -> int:
        return self._ports["SMTP"]

    @property
    def faults(self) -> Faults:
        """The armed faults (see `POST /_sandbox/faults`)."""
        return self._faults

    def counts(self) -> dict[str, Any]:
        """What the tools hold now; the same as GET /_sandbox/counts."""
        received = {name: vendor.counts() for name, vendor in self._vendors.items()}
        received["smtp"] = self._inbox.counts()
        return received

    def reset(self) -> None:
        """Forget everything received; the same as POST /_sandbox/reset."""
        self._store.reset()
        self._faults.armed.clear()
        for vendor in self._vendors.values():
            vendor.forget()

    def __enter__(self) -> Self:
        self._open()
        self._thread = threading.Thread(target=self._run, name="sandbox")
        self._thread.start()
        server = cast(uvicorn.Server, self._server)
        while not server.started and self._thread.is_alive():
            time.sleep(0.005)
        if not server.started:
            self.__exit__(None, None, None)
            raise SandboxError(f"The sandbox did not start: {self._failure}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._store.close()

    def serve_forever(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGINT or SIGTERM, then return; `ready` is called once ports are bound.

        To be called from the main thread, which alone may handle signals.
        """
        self._open()
        ready()
        try:
            asyncio.run(self._serve(until_signal=True))
        finally:
            self._store.close()

    def _open(self) -> None:
        """Bind both ports and build the application; everything that can fail, fails here."""
        portal = _read_portal(self._portal)
        self._sockets = []
        self._bind("HTTP", "SANDBOX_PORT")
        self._bind("SMTP", "SANDBOX_SMTP_PORT")
        try:
            self._store = Store(self._store_path)
        except (sqlite3.Error, OSError) as error:
            self._release()
            raise SandboxError(
                f"The sandbox cannot open its store {self._store_path}: {error}. "
                "Check that the folder can be written, or delete the file to start empty."
            ) from error
        self._vendors: dict[str, Vendor] = {}
        mounts: list[BaseRoute] = []
        connections = Connections()
        self._faults = Faults(connections)
        try:
            for vendor_type in vendor_types():
                part = portal.get(vendor_type.name) or {}
                limit = self._limits.get(vendor_type.name) or RateLimit(**part.get("limits", {}))
                vendor = vendor_type(Context(self._store, part, limit, self._vendors_clock))
                self._vendors[vendor_type.name] = vendor
                gate = _Gate(vendor_type.name, vendor, Starlette(routes=vendor.routes()), self)
                mounts.append(Mount(f"/{vendor_type.name}", app=gate))
            mail = portal.get("smtp") or {}
            self._inbox = Inbox(self._store, mail, self._clock, self._faults)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._store.close()
            self._release()
            raise SandboxError(
                f"{self._portal}: a vendor's settings are missing or wrong:"
                f" {type(error).__name__} {error}. Compare with {PORTAL.name} of the sandbox."
            ) from error
        mail = f"smtp://{_bracketed(self._host)}:{self.smtp_port}"
        page = Page(self._store, self.counts, self.http_url, mail)
        app = Starlette(routes=[*self._own_routes(), *page.routes(), *mounts])
        config = uvicorn.Config(
            app,
            http=_tracked(connections),
            ws="none",
            lifespan="off",
            log_level=logging.CRITICAL,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config)

    def _vendors_clock(self) -> float:
        return self._clock() + self._faults.skew

    def _release(self) -> None:
        for bound in self._sockets:
            bound.close()
        self._sockets = []

    def _bind(self, protocol: str, variable: str) -> None:
        port = self._ports[protocol]
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # Named TCP: only for such sockets does asyncio turn off Nagle's delay, 40 ms a call.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((self._host, port))
            bound.listen(256)
        except (OSError, OverflowError) as error:
            bound.close()
            self._release()
            raise SandboxError(
                f"The sandbox cannot use port {port} on {self._host} for {protocol}: {error}. "
                f"Stop what uses it, or set {variable} to a free port (in .env or the environment)."
            ) from error
        self._sockets.append(bound)
        self._ports[protocol] = bound.getsockname()[1]

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            self._failure = error

    def _stop(self) -> None:
        if self._server is not None:
            self._server.should_exit = True

    async def _serve(self, until_signal: bool = False) -> None:
        http, smtp = self._sockets
        loop = asyncio.get_running_loop()
        if until_signal:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._stop)
        mail = await loop.create_server(lambda: self._inbox.session(loop), sock=smtp)
        try:
            await cast(uvicorn.Server, self._server).serve(sockets=[http])
        finally:
            mail.close()
            http.close()

    def _own_routes(self) -> list[BaseRoute]:
        async def counts(request: Request) -> Response:
            return JSONResponse(self.counts())

        async def reset(request: Request) -> Response:
            self.reset()
            return JSONResponse({"reset": True})

        async def faults(request: Request) -> Response:
            if request.method == "DELETE":
                self._faults.armed.clear()
            elif request.method == "POST":
                try:
                    fault = Fault.model_validate_json(await request.body())
                except ValueError as error:
                    return JSONResponse({"error": str(error)}, 400)
                if fault.vendor not in (*self._vendors, "smtp"):
                    known = ", ".join((*self._vendors, "smtp"))
                    return JSONResponse({"error": f"no vendor {fault.vendor!r}: {known}"}, 400)
                self._faults.armed.append(fault)
            return JSONResponse([fault.model_dump() for fault in self._faults.armed])

        async def health(request: Request) -> Response:
            # Lets a starter tell a running sandbox from a stranger on the port.
            return JSONResponse({"sandbox": "customer-success-warehouse"})

        return [
            Route("/_sandbox/health", health),
            Route("/_sandbox/counts", counts),
            Route("/_sandbox/reset", reset, methods=["POST"]),
            Route("/_sandbox/faults", faults, methods=["GET", "POST", "DELETE"]),
        ]

    def log(
        self, vendor: str, scope: Scope, status: int, note: Exchange, milliseconds: float
    ) -> None:
        """Keep one line per request, without bodies or credentials."""
        with self._store.transaction() as db:
            db.execute(
                "insert into requests(vendor, method, path, status, violation, fault,"
                " milliseconds, at) values (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    vendor,
                    scope["method"],
                    scope["path"],
                    status,
                    note.violation,
                    note.fault,
                    milliseconds,
                    instant(self._clock()),
                ),
            )


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, which ends the process once it has stopped."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Gate:
    """In front of every vendor: meets faults, keeps the request log."""

    def __init__(self, name: str, vendor: Vendor, app: ASGIApp, sandbox: Sandbox) -> None:
        self._name = name
        self._vendor = vendor
        self._app = app
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        note = scope["exchange"] = Exchange()
        logged = False

        def log(status: int) -> None:
            nonlocal logged
            elapsed = (time.perf_counter() - started) * 1000
            self._sandbox.log(self._name, scope, status, note, round(elapsed, 2))
            logged = True

        async def watched(message: Message) -> None:
            # Before the answer leaves: whoever has it may count it.
            if message["type"] == "http.response.start":
                log(message["status"])
            await send(message)

        fault = self._sandbox.faults.take(self._name, scope["path"])
        try:
            if fault is None:
                await self._app(scope, receive, watched)
            else:
                await self._sandbox.faults.serve(
                    fault, self._app, scope, receive, watched, note, self._vendor
                )
        finally:
            if not logged:
                log(0)


def _tracked(connections: Connections) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, reporting which connections are open."""

    class TrackedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            connections.opened(self.client, transport)

        def connection_lost(self, error: Exception | None) -> None:
            connections.closed(self.client)
            super().connection_lost(error)

    return TrackedProtocol


def _read_portal(path: Path) -> dict[str, Any]:
    try:
        portal = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SandboxError(f"The sandbox cannot read its portal file {path}: {error}") from error
    if not isinstance(portal, dict):
        raise SandboxError(f"{path}: one key per vendor is expected at the top level")
    return portal


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
