"""Everything that can go wrong, as one tree.

::

    ReverseEtlError
    ├── UserError            somebody can fix it; the CLI prints the message and exits with 2
    │   └── BusyError        another process works on the same sync
    └── DestinationFault     a request did not end in a readable answer
        ├── NotSent          the tool did not take it: always safe to repeat
        │   ├── Unreachable  no connection at all
        │   └── RateLimited  refused for now; ``retry_after`` says how long
        │       └── QuotaSpent   the account's calls of today are used up
        ├── Unknown          it may have been applied: repeat only what is idempotent
        ├── Refused          the tool read it and said no: some row in it is bad
        └── Denied           the tool does not accept us (credentials, permission, certificate)

A plan held by its budget is a result, not an exception: see ``engine.SyncResult.held``.
"""

from __future__ import annotations


class ReverseEtlError(Exception):
    """Root of the tree. The message is meant to be read by a person and holds no payload."""


class UserError(ReverseEtlError):
    """A mistake somebody can fix: the message names the file, the key and the fix."""


class BusyError(UserError):
    """Another process holds the sync."""


class DestinationFault(ReverseEtlError):  # noqa: N818 - the word of this project
    """A request failed as a whole; ``retry_after`` is the pause in seconds the tool asked for."""

    def __init__(self, message: str, *, code: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class NotSent(DestinationFault):
    """Nothing was taken: repeating is always safe."""


class Unreachable(NotSent):
    """No connection could be made."""


class RateLimited(NotSent):
    """The tool asked for a pause."""


class QuotaSpent(RateLimited):
    """No call is left today; ``retry_after`` reaches to the next day (UTC)."""


class Unknown(DestinationFault):
    """The request left, its effect cannot be known."""


class Refused(DestinationFault):
    """The tool read the request and declined it."""


class Denied(DestinationFault):
    """The tool does not accept this account; no further request makes sense."""
