"""The operator's API: kinds, names and reasons. Pure; every other layer may import it."""
