"""A small server of the Pact Broker's HTTP API: FastAPI in front of Postgres or SQLite."""

VERSION = "0.1.0"
"""Version of this package."""

API_VERSION = "2.120.0"
"""The version of the Pact Broker whose API this server follows; sent as ``X-Pact-Broker-Version``."""
