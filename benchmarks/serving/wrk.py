"""Runs wrk, a load generator in C, and reads what it measured."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

# wrk runs these in each of its threads; `done` comes once at the end.
_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "{content_type}"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
function done(summary, latency, requests)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  print(string.format("RESULT %d %f %d %d %f %f",
    summary.requests, summary.duration / 1e6, errors.status, broken,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


class Load(NamedTuple):
    """What wrk saw: `refused` answers were not 200, `broken` requests had none."""

    requests: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Answered requests that were 200."""
        return (self.requests - self.refused) / self.seconds


def run_wrk(
    url: str, body: bytes, *, connections: int, seconds: float, content_type: str = "application/octet-stream"
) -> Load:
    """Posts the body from so many connections, each as soon as it has its answer (a closed loop).

    Raises ValueError if there is no wrk, or if an answer was not 200.
    """
    if shutil.which("wrk") is None:
        raise ValueError("wrk is not installed (on Debian: apt install wrk)")
    with tempfile.TemporaryDirectory() as folder:
        body_file, script = Path(folder) / "body", Path(folder) / "post.lua"
        body_file.write_bytes(body)
        script.write_text(_SCRIPT.format(content_type=content_type, body=body_file))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script)]
        said = subprocess.run(
            [*command, "--timeout", "60s", url], capture_output=True, text=True, check=True
        ).stdout
    (line,) = [line for line in said.splitlines() if line.startswith("RESULT ")]
    requests, seconds, refused, broken, p50, p99 = map(float, line.split()[1:])
    load = Load(int(requests), seconds, int(refused), int(broken), p50, p99)
    if load.refused or load.broken or not load.requests:
        raise ValueError(f"{url}: of {load.requests} requests {load.refused} refused, {load.broken} broken")
    return load
