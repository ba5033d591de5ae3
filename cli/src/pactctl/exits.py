"""How commands end: the exit codes, and the one error that ends them early."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command; the page `docs/reference/pactctl.md` tells the same."""

    YES = 0
    """What was asked for holds, or was done."""
    NO = 1
    """It does not hold: a contract is broken, the gate refuses, cluster and broker differ."""
    USAGE = 2
    """The command line is wrong, or names what is not there."""
    NOTHING = 3
    """Nothing was there to check; that is never a yes."""
    UNDECIDED = 4
    """There is no answer yet, and waiting longer can help."""
    UNAVAILABLE = 75
    """The cluster, the operator or the broker did not answer (EX_TEMPFAIL of sysexits(3))."""


class PactctlError(Exception):
    """Ends a command with one sentence that says what to do."""

    def __init__(self, message: str, code: Exit = Exit.UNAVAILABLE) -> None:
        super().__init__(message)
        self.code = code
