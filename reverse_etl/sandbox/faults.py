"""Faults on request: what networks and vendors do on a bad day.

`POST /_sandbox/faults` arms one; the next `times` requests to that vendor meet it. Kinds:

    latency        answer after `value` seconds
    status         answer `value` (an HTTP status) without doing anything, with `headers`
    storm          answer 429 without doing anything; the pause to keep, `value` seconds, stands in
                   the header named by `spelling` (default Retry-After)
    expired_token  every token the vendor gave out ends now; where it gives none, answer 401 without
                   doing anything
    reset_before   reset the connection, nothing applied
    reset_after    apply the request, then reset the connection
    truncate       apply the request, send half of the answer, close
    slow_body      apply the request, send the answer byte by byte, `value` seconds in all
    hollow         answer 200 with an empty object, without doing anything
    errors_inside  apply a part of the request, and name the others as failed inside a 2xx; where a
                   vendor has no such answer the request is served as it is
    duplicate      apply the request twice, as a proxy that repeats it does; answer the second time
    clock_skew     serve the request with the vendor's clock off by `value` seconds
"""

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reverse_etl.sandbox.vendor import Exchange, Vendor

Kind = Literal[
    "latency",
    "status",
    "storm",
    "expired_token",
    "reset_before",
    "reset_after",
    "truncate",
    "slow_body",
    "hollow",
    "errors_inside",
    "duplicate",
    "clock_skew",
]
_STATUS = {"storm": 429, "expired_token": 401}


class Fault(BaseModel):
    """One armed fault. `value` is seconds, and the code for status.

    `path` limits it to requests whose path contains it.
    """

    model_config = ConfigDict(extra="forbid")

    vendor: str
    kind: Kind
    times: int = Field(default=1, ge=1)
    value: float = 0
    path: str = ""
    spelling: str = "Retry-After"
    headers: dict[str, str] = {}

    @model_validator(mode="after")
    def _value_fits(self) -> "Fault":
        if self.kind == "status" and not 400 <= self.value <= 599:
            raise ValueError("a status fault needs a value from 400 to 599")
        if self.kind != "clock_skew" and self.value < 0:
            raise ValueError("only a clock can be off by less than nothing")
        return self


class Connections:
    """Open client connections by peer address, so that a fault can break one."""

    def __init__(self) -> None:
        self._transports: dict[tuple[str, int], asyncio.Transport] = {}

    def opened(self, peer: tuple[str, int], transport: asyncio.Transport) -> None:
        self._transports[peer] = transport

    def closed(self, peer: tuple[str, int]) -> None:
        self._transports.pop(peer, None)

    def reset(self, scope: Scope) -> None:
        """Answer with a TCP reset, as a crashed server or a strict middlebox does."""
        transport = self._transports.get(tuple(scope["client"]))
        if transport is None:
            return
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def close(self, scope: Scope) -> None:
        """Close after what has been written so far."""
        transport = self._transports.get(tuple(scope["client"]))
        if transport is not None:
            transport.close()


@dataclass
class Faults:
    """The armed faults, met in the order they were armed."""

    connections: Connections
    armed: list[Fault] = field(default_factory=list)
    skew: float = 0.0
    """Seconds by which the vendors' clocks are off at this moment."""

    def take(self, vendor: str, path: str) -> Fault | None:
        """The fault a request of this vendor meets, used up by one."""
        for position, fault in enumerate(self.armed):
            if fault.vendor != vendor or fault.path not in path:
                continue
            if fault.times == 1:
                del self.armed[position]
            else:
                self.armed[position] = fault.model_copy(update={"times": fault.times - 1})
            return fault
        return None

    async def serve(
        self,
        fault: Fault,
        app: ASGIApp,
        scope: Scope,
        receive: Receive,
        send: Send,
        note: Exchange,
        vendor: Vendor,
    ) -> None:
        """Serve one request under a fault."""
        note.fault = fault.kind
        match fault.kind:
            case "latency":
                await asyncio.sleep(fault.value)
                await app(scope, receive, send)
            case "expired_token" if expire := getattr(vendor, "expire_tokens", None):
                expire()
                await app(scope, receive, send)
            case "status" | "storm" | "expired_token":
                await _drain(receive)
                pause = {fault.spelling: f"{fault.value:g}"} if fault.kind == "storm" else {}
                status = _STATUS.get(fault.kind, int(fault.value))
                body = b'{"status":"error","message":"a fault armed in the sandbox"}'
                await _answer(send, status, body, fault.headers | pause)
            case "hollow":
                await _drain(receive)
                await _answer(send, 200, b"{}", {})
            case "reset_before":
                await _drain(receive)
                self.connections.reset(scope)
            case "reset_after":
                await app(scope, receive, _swallow)
                self.connections.reset(scope)
            case "truncate":
                await app(scope, receive, _halved(send))
                self.connections.close(scope)
            case "slow_body":
                await app(scope, receive, _dripping(send, fault.value))
            case "duplicate":
                body = await _drain(receive)
                await app(scope, _replay(body), _swallow)
                await app(scope, _replay(body), send)
            case "errors_inside":
                await self._spoil(app, scope, await _drain(receive), send, vendor)
            case "clock_skew":
                self.skew += fault.value
                try:
                    await app(scope, receive, send)
                finally:
                    self.skew -= fault.value

    async def _spoil(
        self, app: ASGIApp, scope: Scope, body: bytes, send: Send, vendor: Vendor
    ) -> None:
        """A part of the rows is taken away from the request, and named in its answer."""
        spoil = getattr(vendor, "spoil", None)
        spoiled = spoil(scope["path"], body) if spoil else None
        if spoiled is None:
            await app(scope, _replay(body), send)
            return
        kept, amend = spoiled
        answer = bytearray()
        start: Message = {}

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                answer.extend(message.get("body", b""))

        # lengths are part of the headers: the request is read by its parts, the answer is new
        await app(scope, _replay(kept), collect)
        await _answer(send, start["status"], amend(bytes(answer)), {})


async def _drain(receive: Receive) -> bytes:
    """Read the request to its end, so that the client's write succeeds."""
    body = bytearray()
    while True:
        message = await receive()
        body.extend(message.get("body", b""))
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _answer(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    listed = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    encoded = [(name.encode(), value.encode()) for name, value in listed.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def _dripping(send: Send, seconds: float) -> Send:
    async def drip(message: Message) -> None:
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or not body:
            await send(message)
            return
        for byte in body[:-1]:
            await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
            await asyncio.sleep(seconds / len(body))
        await send({**message, "body": body[-1:]})

    return drip


async def _swallow(message: Message) -> None:
    return None


def _halved(send: Send) -> Send:
    async def half(message: Message) -> None:
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            message = {**message, "body": body[: len(body) // 2], "more_body": True}
        await send(message)

    return half
