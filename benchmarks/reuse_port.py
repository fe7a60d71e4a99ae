"""How evenly connections spread over fronts: the kernel's choice (SO_REUSEPORT) beside handing over in turn.

    python benchmarks/reuse_port.py [--times N]

For each number of listeners and of connections: how many times an even share the busiest listener has, on
average and at worst. The kernel chooses by a hash of the addresses, so one process can show it.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import socket
from statistics import fmean

LISTENERS = (2, 4)
CONNECTIONS = (8, 32, 64, 128, 512)


def listeners(count: int) -> list[socket.socket]:
    """Sockets at one free port of the loopback, between which the kernel chooses."""
    found: list[socket.socket] = []
    for _ in range(count):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(found[0].getsockname() if found else ("127.0.0.1", 0))
        one.listen(1024)
        one.setblocking(False)
        found.append(one)
    return found


def accepted(count: int, connections: int) -> list[int]:
    """How many of so many connections each listener has."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(one) for one in listeners(count)]
        for _ in range(connections):
            stack.enter_context(socket.create_connection(found[0].getsockname()))
        numbers = [0] * count
        for index, one in enumerate(found):
            with contextlib.suppress(BlockingIOError):
                while True:
                    stack.enter_context(one.accept()[0])
                    numbers[index] += 1
        assert sum(numbers) == connections
        return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--times", type=int, default=200)
    times = parser.parse_args().times
    print("| listeners | connections | in turn | kernel, mean | kernel, worst | with an idle listener |")
    print("|---|---|---|---|---|---|")
    for count in LISTENERS:
        for connections in CONNECTIONS:
            even = connections / count
            spreads = [accepted(count, connections) for _ in range(times)]
            most = [max(spread) / even for spread in spreads]
            idle = sum(0 in spread for spread in spreads)
            in_turn = math.ceil(even) / even
            figures = f"{in_turn:.2f} | {fmean(most):.2f} | {max(most):.2f} | {idle} of {times}"
            print(f"| {count} | {connections} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
