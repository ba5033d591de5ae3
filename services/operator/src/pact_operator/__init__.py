"""The Pact Operator: reconciles what is owed between the contracts in a Pact Broker and what runs in the cluster."""

__version__ = "0.1.0"
