"""The wall clock."""

import time


class SystemClock:
    """The clock of this machine; the `Clock` port."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()
