"""Faults on request: what networks and vendors do on a bad day.

`POST /_sandbox/faults` arms one; the next `times` requests to that vendor meet it. Kinds:

    latency       answer after `value` seconds
    status        answer `value` (an HTTP status) without doing anything
    reset_before  reset the connection, nothing applied
    reset_after   apply the request, then reset the connection
    truncate      apply the request, send half of the answer, close
"""

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reverse_etl.sandbox.vendor import Exchange

Kind = Literal["latency", "status", "reset_before", "reset_after", "truncate"]


class Fault(BaseModel):
    """One armed fault. `value` is seconds for latency and the code for status.

    `path` limits it to requests whose path contains it.
    """

    model_config = ConfigDict(extra="forbid")

    vendor: str
    kind: Kind
    times: int = Field(default=1, ge=1)
    value: float = Field(default=0, ge=0)
    path: str = ""

    @model_validator(mode="after")
    def _status_is_one(self) -> "Fault":
        if self.kind == "status" and not 400 <= self.value <= 599:
            raise ValueError("a status fault needs a value from 400 to 599")
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
        self, fault: Fault, app: ASGIApp, scope: Scope, receive: Receive, send: Send, note: Exchange
    ) -> None:
        """Serve one request under a fault."""
        note.fault = fault.kind
        if fault.kind == "latency":
            await asyncio.sleep(fault.value)
            await app(scope, receive, send)
        elif fault.kind == "status":
            body = b'{"status":"error","message":"a fault armed in the sandbox"}'
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ]
            await _drain(receive)
            await send(
                {"type": "http.response.start", "status": int(fault.value), "headers": headers}
            )
            await send({"type": "http.response.body", "body": body})
        elif fault.kind == "reset_before":
            await _drain(receive)
            self.connections.reset(scope)
        elif fault.kind == "reset_after":
            await app(scope, receive, _swallow)
            self.connections.reset(scope)
        else:
            await app(scope, receive, _halved(send))
            self.connections.close(scope)


async def _drain(receive: Receive) -> None:
    """Read the request to its end, so that the client's write succeeds."""
    while (await receive()).get("more_body"):
        pass


async def _swallow(message: Message) -> None:
    return None


def _halved(send: Send) -> Send:
    async def half(message: Message) -> None:
        if message["type"] == "http.response.body":
            body = message.get("body", b"")
            message = {**message, "body": body[: len(body) // 2], "more_body": True}
        await send(message)

    return half
