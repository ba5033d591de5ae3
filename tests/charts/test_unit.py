"""The charts' own suites, in charts/*/tests."""

import subprocess
from pathlib import Path

import pytest

from tests.charts.charts import CHARTS, NAMES


@pytest.mark.parametrize("chart", NAMES)
def test_the_suites_of_the_chart_pass(helm_unittest: Path, chart: str) -> None:
    suites = sorted((CHARTS / chart / "tests").glob("*_test.yaml"))
    done = subprocess.run(
        [str(helm_unittest), "--strict", str(CHARTS / chart)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # A suite that was not found would pass too.
    assert f"Test Suites: {len(suites)} passed, {len(suites)} total" in done.stdout, done.stdout
    assert suites != []
