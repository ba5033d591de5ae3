"""What can go wrong between us and a Pact Broker, as one closed family of exceptions.

The message of each is one sentence for a person; `status`, `method` and `path` are for programs. No message
holds a credential: only the method, the path and what the broker itself said.
"""


class BrokerError(Exception):
    """Anything that kept a request to the broker from being answered as asked.

    Attributes:
        status: HTTP status of the broker's answer, None if there was none.
        method: HTTP method of the request, empty if none was sent.
        path: Path and query of the request, relative to the broker's base URL.
        retryable: Whether the same request may succeed later without anyone changing anything.
    """

    retryable = False

    def __init__(self, message: str, *, status: int | None = None, method: str = "", path: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.method = method
        self.path = path


class BrokerUnauthorized(BrokerError):  # noqa: N818  (the condition reason of the same name reads better)
    """401 or 403: the credentials are missing, wrong, or may only read."""


class NotFound(BrokerError):  # noqa: N818
    """404: the broker does not hold what was asked for."""


class Conflict(BrokerError):  # noqa: N818
    """409: the broker refuses to change what it already holds.

    Attributes:
        text: Everything the broker said, readable, several lines: for a changed pact, the reason and the diff.
    """

    def __init__(self, message: str, *, text: str, method: str = "", path: str = "") -> None:
        super().__init__(message, status=409, method=method, path=path)
        self.text = text


class InvalidRequest(BrokerError):  # noqa: N818
    """400 or 422: the broker does not accept the request; sending it again will not help.

    Attributes:
        errors: The broker's complaints, one sentence each (`field: complaint` where it named a field).
    """

    def __init__(
        self,
        message: str,
        *,
        errors: tuple[str, ...] = (),
        status: int | None = None,
        method: str = "",
        path: str = "",
    ) -> None:
        super().__init__(message, status=status, method=method, path=path)
        self.errors = errors


class BrokerUnavailable(BrokerError):  # noqa: N818
    """No answer, or one that says "not now" (5xx, 408, 429): worth another try later.

    Attributes:
        retry_after: Seconds the broker asked us to wait (Retry-After), None if it did not say.
    """

    retryable = True

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None = None,
        status: int | None = None,
        method: str = "",
        path: str = "",
    ) -> None:
        super().__init__(message, status=status, method=method, path=path)
        self.retry_after = retry_after


class ProtocolError(BrokerError):
    """The answer is not what a Pact Broker says: most often the URL points at something else."""
