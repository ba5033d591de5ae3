"""The publisher Job: publishes the pacts that a consumer's tests wrote, all or none."""

__version__ = "0.1.0"
