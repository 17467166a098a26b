"""Tests of this room, without the real reactor."""
