"""The sandbox: vendors' tools on this machine, for the demo and the tests.

A local server that speaks each vendor's documented contract strictly (authentication, batch
limits, required fields, refusals with the vendor's own words), an SMTP inbox, and one web page
that shows what the tools received. It is written against the vendors' contracts and knows nothing
of `reverse_etl.destinations`.
"""

from reverse_etl.sandbox.server import Sandbox, SandboxError

__all__ = ["Sandbox", "SandboxError"]
