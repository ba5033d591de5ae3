"""The gate Job: asks the operator's gate about one version, and ends with the answer as exit code."""

__version__ = "0.1.0"
