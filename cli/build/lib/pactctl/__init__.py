"""The command line of Pact Operator: reads its objects, asks its gate, and starts candidate runs."""
