"""What a door takes at most: bytes, numbers and seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one server; sizes in bytes, times in seconds.

    Attributes:
        max_body: One body, both as it comes and decoded.
        max_held: Bodies of all requests together, until each is answered.
        max_unsent: Answers of all connections together that nobody reads.
        max_target: The request's path with its query.
        max_head: Request line and headers, and trailers, while they come.
        max_headers: Number of headers.
        max_pipelined: Requests of one connection that wait for the one before.
        max_connections: Connections; over it, one that waits for its client gives way, of the
            address that has the most.
        at_once: Requests that are worked on; over it they get a 503, health apart.
        head_seconds: From the first byte, or the connection, to the end of the headers.
        body_seconds: From there to the end of the body.
        write_seconds: From the answer until the client has taken all of it.
        idle_seconds: From an answer to the next request.
        drain_seconds: For requests under way when the server is told to end.
    """

    max_body: int = 1 << 20
    max_held: int = 64 << 20
    max_unsent: int = 64 << 20
    max_target: int = 8 << 10
    max_head: int = 32 << 10
    max_headers: int = 100
    max_pipelined: int = 4
    max_connections: int = 512
    at_once: int = 64
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    write_seconds: float = 30.0
    idle_seconds: float = 75.0
    drain_seconds: int = 10
