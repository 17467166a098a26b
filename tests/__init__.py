"""The tests mirror the rooms of the package; `integration` uses the real things."""

from hypothesis import settings

# However busy the machine is, timing decides no test.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
