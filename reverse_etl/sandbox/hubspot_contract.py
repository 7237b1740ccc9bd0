"""What HubSpot's endpoints share: the call, the refusal, and checks of a request body."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OBJECT_TYPE_IDS = {"0-1": "contacts", "0-2": "companies"}
OBJECTS = {
    "contacts": "contacts",
    "contact": "contacts",
    "0-1": "contacts",
    "companies": "companies",
    "company": "companies",
    "0-2": "companies",
}


@dataclass(frozen=True)
class Call:
    """One authenticated call: path and query parameters, and the parsed JSON body."""

    path: Mapping[str, Any]
    query: Mapping[str, str]
    body: Any
    now: str


@dataclass(frozen=True)
class Answer:
    """A response; a body of None is sent as an empty one."""

    status: int
    body: Any = None


@dataclass
class Refusal(Exception):  # noqa: N818 - the vendor's word for a 4xx with its body
    """An answer in HubSpot's error shape (schema `Error` of its API specification).

    `violation` names a breach of the contract by the client itself (limits, shapes), as opposed
    to a refusal of the data it was given.
    """

    status: int
    category: str
    message: str
    sub_category: str | None = None
    context: dict[str, list[str]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    violation: str | None = None

    def body(self) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "status": "error",
            "message": self.message,
            "correlationId": str(uuid.uuid4()),
            "category": self.category,
        }
        if self.sub_category:
            answer["subCategory"] = self.sub_category
        if self.context:
            answer["context"] = self.context
        return answer | self.extra


def invalid(message: str, violation: str | None = None, **context: list[str]) -> Refusal:
    """A 400 VALIDATION_ERROR about the data or, with `violation`, about the client."""
    return Refusal(400, "VALIDATION_ERROR", message, context=context, violation=violation)


def malformed(message: str) -> Refusal:
    """A 400 for a body that does not have the documented shape."""
    return invalid(f"Invalid input JSON: {message}", violation="shape")


def not_found(message: str) -> Refusal:
    return Refusal(404, "OBJECT_NOT_FOUND", message)


def fields(
    body: Any,
    required: Mapping[str, type],
    optional: Mapping[str, type] | None = None,
    where: str = "body",
) -> dict[str, Any]:
    """A JSON object with the required fields, of the documented types and with no others."""
    optional = optional or {}
    if not isinstance(body, dict):
        raise malformed(f"{where} is not an object")
    for name, kind in required.items():
        if name not in body:
            raise malformed(f"{where} lacks the required field {name!r}")
        if not _is(body[name], kind):
            raise malformed(f"{where}.{name} is not of type {kind.__name__}")
    for name, value in body.items():
        if name in required:
            continue
        if name not in optional:
            raise malformed(f"{where} has an unknown field {name!r}")
        if not _is(value, optional[name]):
            raise malformed(f"{where}.{name} is not of type {optional[name].__name__}")
    return body


def _is(value: Any, kind: type) -> bool:
    # In JSON a boolean is no number, in Python it is.
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def strings(values: Any, where: str) -> list[str]:
    """A JSON array of strings."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise malformed(f"{where} is not an array of strings")
    return values


def batch(body: Any, limit: int, optional: Mapping[str, type] | None = None) -> Sequence[Any]:
    """`inputs` of a batch call, of 1 to `limit` items."""
    inputs = fields(body, {"inputs": list}, optional)["inputs"]
    if not inputs:
        raise invalid("Batch input has no inputs", violation="batch size")
    if len(inputs) > limit:
        raise invalid(
            f"The maximum number of inputs supported in a batch request is {limit},"
            f" received {len(inputs)}",
            violation="batch size",
        )
    return list(inputs)
