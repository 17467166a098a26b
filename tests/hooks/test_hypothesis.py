"""Deliveries that somebody with the secret broke: a `Delivery` or `Rejected`, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks.delivery import Incoming, Rejected
from tests.hooks.senders import SECRET, SENDERS
from tests.hooks.strategies import broken_in_bytes, broken_in_headers, broken_in_structure, sound

modest = settings(
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
)

#: Who signs what is in the form: a form that cannot be read is one that cannot be proved.
PROVED_BY_THE_FIELD = "gitea as a form"


class BrokenStructureTests(SynchronousTestCase):
    """One test for each sender, made below."""


class BrokenBytesTests(SynchronousTestCase):
    """One test for each sender, made below."""

    @modest
    @given(st.binary(max_size=200), st.sampled_from(sorted(SENDERS)))
    def test_any_bytes(self, body: bytes, name: str) -> None:
        """Any bytes at all, signed, are read or answered 400."""
        outcome = sound(SENDERS[name].sign(body, SECRET))
        if isinstance(outcome, Rejected) and name != PROVED_BY_THE_FIELD:
            self.assertEqual(outcome.status, 400)


class BrokenHeadersTests(SynchronousTestCase):
    @settings(modest, max_examples=300)
    @given(st.sampled_from(sorted(SENDERS)).flatmap(broken_in_headers))
    def test_any_headers(self, incoming: Incoming) -> None:
        """Headers as anybody may send them let nobody in who was not proved, and break nothing."""
        outcome = sound(incoming)
        assert isinstance(outcome, Rejected), outcome
        if outcome.status == 200:
            self.assertEqual(incoming.header("x-event-key"), "diagnostics:ping")
        else:
            self.assertIn(outcome.status, (401, 415))


def _structure_test(name: str) -> Callable[[SynchronousTestCase], None]:
    @modest
    @given(broken_in_structure(name))
    def test(self: SynchronousTestCase, incoming: Incoming) -> None:
        outcome = sound(incoming)
        if isinstance(outcome, Rejected):
            self.assertEqual(outcome.status, 400)

    test.__doc__ = f"A push of {name} with other values in it is read or answered 400 (threat 18)."
    return test


def _bytes_test(name: str) -> Callable[[SynchronousTestCase], None]:
    @modest
    @given(broken_in_bytes(name))
    def test(self: SynchronousTestCase, incoming: Incoming) -> None:
        outcome = sound(incoming)
        if isinstance(outcome, Rejected) and name != PROVED_BY_THE_FIELD:
            self.assertEqual(outcome.status, 400)

    test.__doc__ = f"A push of {name} with other bytes in it is read or answered 400."
    return test


def _add_tests() -> None:
    for name in SENDERS:
        method = "test_" + re.sub(r"\W+", "_", name)
        for case, make in (
            (BrokenStructureTests, _structure_test),
            (BrokenBytesTests, _bytes_test),
        ):
            test = make(name)
            test.__name__ = method
            test.__qualname__ = f"{case.__name__}.{method}"
            setattr(case, method, test)


_add_tests()
