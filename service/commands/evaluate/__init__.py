"""``abinet eval``: the evaluation of `models`, the SDK of `clients` and a service, put together."""
