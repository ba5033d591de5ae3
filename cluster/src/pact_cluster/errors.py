"""What goes wrong, as sentences for the person at the terminal."""


class ClusterError(Exception):
    """One clear sentence that says what is wrong and what to do."""


class CommandFailedError(ClusterError):
    """A program ended badly.

    Attributes:
        command: The program and its arguments.
        code: Its exit code; negative for a signal, None when it ran out of time.
        output: The last lines that it wrote.
    """

    def __init__(self, command: list[str], code: int | None, output: str) -> None:
        self.command = command
        self.code = code
        self.output = output
        shown = " ".join(command[:6]) + (" ..." if len(command) > 6 else "")
        how = "did not end in time" if code is None else f"ended with exit code {code}"
        tail = "\n".join(f"  {line}" for line in output.strip().splitlines()[-15:])
        super().__init__(f"`{shown}` {how}" + (f":\n{tail}" if tail else "."))
