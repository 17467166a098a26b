"""The first threats of `shared/threats.md`, those of the webhook's door, and the tests that show them."""

from __future__ import annotations

import importlib
import re
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase


@frozen
class Row:
    """One threat: the tests that show what happens, and why that is not the behaviour of the row."""

    tests: tuple[str, ...]
    otherwise: str = ""


def shown(*tests: str, otherwise: str = "") -> Row:
    """The row that these tests of the project show."""
    return Row(tuple(f"tests.{test}" for test in tests), otherwise)


THREATS = {
    1: shown(
        "hooks.test_receive.UnauthorizedTests.test_missing",
        "web.test_site.ClientTests.test_sources_that_are_on_no_list",
    ),
    2: shown(
        "hooks.test_receive.UnauthorizedTests.test_missing",
        "hooks.test_providers.BitbucketServerTests"
        ".test_a_password_does_not_make_up_for_a_wrong_signature",
    ),
    3: shown(
        "hooks.test_receive.UnauthorizedTests.test_empty",
        "hooks.test_receive.UnauthorizedTests.test_doubled",
        "hooks.test_providers.LikeGiteaTests.test_a_hook_without_a_secret",
    ),
    4: shown(
        "hooks.test_receive.UnauthorizedTests.test_sha1",
        "hooks.test_receive.UnauthorizedTests.test_sha1_where_a_trust_allows_it",
    ),
    5: shown(
        "hooks.test_receive.UnauthorizedTests.test_hub_signatures_that_are_none",
        "hooks.test_signatures.StandardWebhooksTests.test_too_many_signatures",
    ),
    6: shown(
        "hooks.test_signatures.ConstantTimeTests.test_nothing_secret_is_compared_otherwise",
        "hooks.test_providers.GitLabTests.test_a_token_with_other_bytes",
    ),
    7: shown("hooks.test_receive.UnauthorizedTests.test_nothing_is_given_away"),
    8: shown(
        "hooks.test_providers.DoorTests.test_a_signature_holds_for_five_minutes",
        "hooks.test_signatures.StandardWebhooksTests.test_only_digits_are_a_time",
        "web.test_update.Ignored.test_a_duplicate",
    ),
    9: shown(
        "hooks.test_receive.UnauthorizedTests.test_secret_of_another_repository",
        otherwise="settled otherwise: a secret is bound by its trusts, not by a route",
    ),
    10: shown(
        "hooks.test_receive.UnauthorizedTests.test_only_the_providers_own_proof_counts",
        otherwise="settled otherwise: the headers say which provider, and its own proof alone counts",
    ),
    11: shown("web.test_site.SizeTests.test_by_length", "web.test_site.SizeTests.test_by_chunks"),
    12: shown("web.test_site.SizeTests.test_a_form_is_not_parsed"),
    13: shown("web.test_site.EndpointTests.test_multipart"),
    14: shown("web.test_site.EndpointTests.test_compressed"),
    15: shown(
        "web.test_site.DeadlineTests.test_a_body_byte_by_byte",
        "web.test_site.DeadlineTests.test_headers_that_never_end",
        "web.test_site.DeadlineTests.test_too_many_connections",
    ),
    16: shown(
        "web.test_site.SmugglingTests.test_two_lengths",
        "web.test_site.SmugglingTests.test_too_many_headers",
    ),
    17: shown(
        "hooks.test_hostile.BodyTests.test_every_sender",
        "hooks.test_hostile.BodyTests.test_lone_surrogate_in_a_used_field",
        otherwise="settled otherwise: one parser, and what nobody uses is skipped and not judged",
    ),
    18: shown(
        "hooks.test_hypothesis.BrokenStructureTests.test_azure",
        "hooks.test_hypothesis.BrokenStructureTests.test_bitbucket_server",
        "hooks.test_hypothesis.BrokenStructureTests.test_gogs",
        "hooks.test_hostile.BodyTests.test_azure_empty_refUpdates",
    ),
    19: shown(
        "hooks.test_providers.BitbucketServerTests.test_several_changes",
        "hooks.test_providers.AzureTests.test_several_updates",
        "hooks.test_providers.SourcehutTests.test_several_refs",
    ),
    20: shown("hooks.test_providers.DoorTests.test_tags_are_no_branches"),
    21: shown("hooks.test_providers.DoorTests.test_events_by_name"),
    22: shown("integration.test_storm.StormTests.test_a_thousand_requests"),
    23: shown(
        "web.test_order.OrderTests.test_a_commit_that_is_late",
        "web.test_order.OrderTests.test_a_commit_that_never_comes",
    ),
    24: shown("web.test_order.OrderTests.test_an_older_push_that_comes_last"),
    25: shown(
        "web.test_site.ClientTests.test_nobody_is_trusted",
        "web.test_site.EndpointTests.test_who_was_refused",
    ),
}


def find(name: str) -> Any:
    """The test of that name."""
    module, case, method = name.rsplit(".", 2)
    return getattr(getattr(importlib.import_module(module), case), method)


class ThreatTests(SynchronousTestCase):
    def test_every_row(self) -> None:
        """Every threat of the door is in the table, and is shown by a test."""
        self.assertEqual(sorted(THREATS), list(range(1, 26)))
        self.assertEqual([number for number, row in THREATS.items() if not row.tests], [])

    def test_every_test(self) -> None:
        """Each of these tests exists, and says which threat it is about."""
        for number, row in THREATS.items():
            for name in row.tests:
                documented = find(name).__doc__ or ""
                said = re.findall(r"threats? (\d+)(?: and (\d+))?", documented)
                numbers = {int(one) for pair in said for one in pair if one}
                self.assertIn(number, numbers, name)

    def test_the_settled_ones(self) -> None:
        """What is settled otherwise says so."""
        settled = {number: row.otherwise for number, row in THREATS.items() if row.otherwise}
        self.assertEqual(sorted(settled), [9, 10, 17])
        for reason in settled.values():
            self.assertTrue(reason.startswith("settled otherwise: "), reason)
