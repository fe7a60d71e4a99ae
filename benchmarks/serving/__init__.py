"""The service under the load of other processes, over loopback: `python -m benchmarks.serving SCENARIO`.

A file of `scenarios` is a scenario: what it is called on the command line, its flags, what it measures.
"""
