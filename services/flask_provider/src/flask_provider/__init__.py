"""The users API on Flask."""

from flask_provider.app import create_app

__all__ = ["create_app"]
