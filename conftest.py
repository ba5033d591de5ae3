"""What holds for every test of the workspace."""

import os

from hypothesis import HealthCheck, settings

# Whether a change lands must not hang on the luck of the draw: CI draws the same examples each time, a nightly run
# (HYPOTHESIS_PROFILE=here) and everybody at home draw new ones, and what they find becomes a test of its own.
# How long drawing takes says more of the machine than of the code.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("here"), derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "here"))
