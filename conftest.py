"""What holds for every test of the workspace."""

import os

from hypothesis import settings

# Whether a change lands must not hang on the luck of the draw: CI draws the same examples each time, a nightly run
# (HYPOTHESIS_PROFILE=default) and everybody at home draw new ones, and what they find becomes a test of its own.
settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
