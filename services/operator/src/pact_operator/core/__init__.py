"""The operator's decisions: pure functions from facts to plans. No I/O, no clock, no kopf, no kubernetes."""
