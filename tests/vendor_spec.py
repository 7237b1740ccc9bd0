"""Requests that really left, and answers that really came, held against a vendor's OpenAPI file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict

SPECS = Path(__file__).parents[2] / "shared" / "vendor_specs"


@dataclass
class Sent:
    """One request as the vendor would have got it, its mount in the sandbox taken off."""

    request: requests.PreparedRequest
    mount: str
    host_url: str
    parameters: RequestParameters = field(init=False)

    def __post_init__(self) -> None:
        query = parse_qsl(urlsplit(str(self.request.url)).query, keep_blank_values=True)
        headers = Headers(dict(self.request.headers))
        self.parameters = RequestParameters(ImmutableMultiDict(query), headers)

    @property
    def path(self) -> str:
        return urlsplit(str(self.request.url)).path.removeprefix(self.mount)

    @property
    def method(self) -> str:
        return str(self.request.method).lower()

    @property
    def body(self) -> bytes | None:
        body = self.request.body
        return body.encode() if isinstance(body, str) else body

    @property
    def content_type(self) -> str:
        return self.request.headers.get("Content-Type", "")


@dataclass
class Got:
    """The sandbox's answer to it."""

    response: requests.Response

    @property
    def status_code(self) -> int:
        return self.response.status_code

    @property
    def headers(self) -> Mapping[str, Any]:
        return self.response.headers

    @property
    def content_type(self) -> str:
        return self.response.headers.get("Content-Type", "")

    @property
    def data(self) -> bytes:
        return self.response.content


@cache
def specification(file: str) -> OpenAPI:
    """A vendor's file; that it is a valid specification is the vendor's business."""
    document = json.loads((SPECS / file).read_text())
    readers = {"application/vnd.api+json": json.loads}
    config = Config(spec_validator_cls=None, extra_media_type_deserializers=readers)
    return OpenAPI.from_dict(document, config=config)


def violations(
    file: str, host_url: str, mount: str, exchanges: list[requests.Response]
) -> Iterator[str]:
    """What is wrong with requests, and with answers, in the specification's eyes."""
    spec = specification(file)
    for response in exchanges:
        sent = Sent(response.request, mount, host_url)
        for error in spec.iter_request_errors(sent):
            yield f"{sent.method} {sent.path}: {error!r} {error.__cause__!r}"
        if response.status_code not in (202, 204):
            for error in spec.iter_response_errors(sent, Got(response)):
                yield f"answer to {sent.method} {sent.path}: {error!r} {error.__cause__!r}"
