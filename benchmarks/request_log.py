"""What a line of the request log costs a front.

    python benchmarks/request_log.py

prints microseconds of processor time for a line of each format, written to a file.
"""

from __future__ import annotations

import tempfile
import time
import timeit

from service.observability.request_log import RequestLog
from service.settings.model import Settings
from service.types import Timings

LINES = 20_000
TIMINGS = Timings(
    decode=0.312, queue=0.104, batch=1.25, vision=12.131, refine=6.209, encode=0.118, total=20.124
)


def main() -> None:
    for form in ("text", "json"):
        with tempfile.TemporaryFile("w", buffering=1) as file:
            log = RequestLog(Settings(log_format=form), file)

            def line(log: RequestLog = log) -> None:
                log.write(
                    request_id="b6b855f0606b490fd8ddd44cc191a8d4",
                    method="POST",
                    route="/v1/read",
                    status=200,
                    seconds=0.0201,
                    body_bytes=5120,
                    crops=1,
                    timings=TIMINGS,
                )

            seconds = min(timeit.repeat(line, number=LINES, repeat=5, timer=time.process_time))
            print(f"{form}: {1e6 * seconds / LINES:.1f} us a line")


if __name__ == "__main__":
    main()
