"""From a key to a look: queue, gather, execute, reconcile. Knows the ports, never what is behind them."""
