"""The users API on FastAPI."""

from fastapi_provider.app import create_app

__all__ = ["create_app"]
