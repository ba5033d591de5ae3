"""The rules of a Pact Broker as pure functions: no database, no HTTP, no clock."""
