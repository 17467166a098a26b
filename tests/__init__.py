"""The tests mirror the rooms of the package; `integration` uses the real things."""
