"""Answers that are errors; their shapes matter to clients."""

from typing import Any

from broker_lite.domain.webhook_rules import Errors

HAL = "application/hal+json;charset=utf-8"
JSON = "application/json;charset=utf-8"
PROBLEM = "application/problem+json;charset=utf-8"
NOT_FOUND_TEXT = "The requested document was not found on this server."


class ApiError(Exception):
    """An error answer: a status and a body. Raising it rolls the transaction back.

    Attributes:
        status: HTTP status.
        body: JSON document, or None for an empty answer.
        media_type: content type of the body.
    """

    def __init__(self, status: int, body: Any = None, media_type: str = HAL) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body
        self.media_type = media_type

    def problem(self, base_url: str) -> dict[str, Any]:
        """The same answer as problem details (RFC 9457), for clients that ask for it."""
        text = self.body.get("error") if isinstance(self.body, dict) else None
        kinds = {404: ("Not found", "not-found"), 409: ("Conflict", "conflict")}
        if isinstance(text, str):
            title, kind = kinds.get(self.status, ("Error", "error"))
            return {
                "title": title,
                "type": f"{base_url}/problem/{kind}",
                "detail": text,
                "status": self.status,
            }
        return {
            "title": "Validation errors",
            "type": f"{base_url}/problems/validation-error",
            "status": self.status,
            "instance": "/",
            "errors": self._invalid_parts(base_url),
        }

    def _invalid_parts(self, base_url: str) -> list[dict[str, str]]:
        errors = self.body.get("errors") if isinstance(self.body, dict) else None
        if isinstance(errors, dict):
            return [
                _invalid_part(base_url, text) | {"pointer": "/" + field.replace(".", "/")}
                for field, texts in errors.items()
                for text in texts
            ]
        return [_invalid_part(base_url, str(text)) for text in errors or []]


def _invalid_part(base_url: str, text: str) -> dict[str, str]:
    # The kinds of problem are told apart by their words, as the reference broker does.
    kind = "missing-body-property" if "missing" in text else "invalid-body-property-value"
    if "format" in text and kind != "missing-body-property":
        kind = "invalid-body-property-format"
    return {"type": f"{base_url}/problems/{kind}", "title": "Invalid body parameter", "detail": text}


def not_found() -> ApiError:
    """404 for a document that does not exist."""
    return ApiError(404, {"error": NOT_FOUND_TEXT}, JSON)


def missing(text: str) -> ApiError:
    """404 that names what is missing."""
    return ApiError(404, {"error": text})


def invalid(errors: Errors | list[str]) -> ApiError:
    """400 with the problems by field, or in a list."""
    return ApiError(400, {"errors": errors})


def malformed(text: str) -> ApiError:
    """400 for a request that cannot be understood at all."""
    return ApiError(400, {"error": text})
