"""Where events come in: kopf's watches and the HTTP endpoints. They only enqueue keys."""
