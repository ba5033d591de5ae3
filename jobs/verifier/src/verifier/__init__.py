"""The verifier Job: verifies a provider against its pacts and says how it ended."""

__version__ = "0.1.0"
