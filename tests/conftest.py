"""Settings of all tests: examples are never timed, since speed is measured in benchmarks/ and machines are busy."""

from hypothesis import settings

settings.register_profile("untimed", parent=settings(), deadline=None)  # in CI the parent is derandomised
settings.load_profile("untimed")
