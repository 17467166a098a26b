"""The threats of the webhook's door (1 to 25), of git (26 to 52), of the config (53 to 59), of scripts
(60 to 75), and of pages and requests of our own (76 to 92), by the numbers of the list they come from,
and the tests that show what happens.

What is left to the administrator stands in `docs/threats.md` under the same number.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

TESTS = Path(__file__).parent


@frozen
class Row:
    """One threat: the tests that show what happens, and why that is not the behaviour of the row.

    With `documented`, the page about threats has something to say on it.
    """

    tests: tuple[str, ...]
    otherwise: str = ""
    documented: bool = False


def shown(*tests: str, otherwise: str = "", documented: bool = False) -> Row:
    """The row that these tests of the project show."""
    return Row(tuple(f"tests.{test}" for test in tests), otherwise, documented)


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
        "web.test_site.MemoryTests.test_an_ordinary_delivery_has_room",
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
    26: shown(
        "integration.test_git.Names.test_options",
        "test_names.BranchTests.test_names_that_git_takes_for_something_else",
        "test_names.OtherNameTests.test_remotes",
        "hostconfig.test_resolve.ComplaintTests.test_wrong_values",
    ),
    27: shown(
        "integration.test_git.Names.test_options",
        "test_settings.TrustTableTests.test_urls_that_git_takes_for_something_else",
    ),
    28: shown(
        "integration.test_git.Names.test_other_protocols",
        "test_settings.TrustTableTests.test_urls_that_git_takes_for_something_else",
        "location.test_source.ProtocolTests.test_https_and_ssh",
        "integration.test_submodules.Submodules.test_an_address_that_is_a_command",
    ),
    29: shown(
        "integration.test_git.Names.test_hosts_that_are_options",
        "test_settings.TrustTableTests.test_urls_that_git_takes_for_something_else",
        "test_names.UrlTests.test_unusual_urls_name_nothing",
    ),
    30: shown(
        "location.test_git.Running.test_what_is_run",
        "integration.test_submodules.Submodules.test_off_by_default",
        "integration.test_submodules.VersionTests.test_versions",
        documented=True,
        otherwise="settled otherwise: off by default, and the opt-in warns of an old git",
    ),
    31: shown(
        "integration.test_git.HostileSettings.test_settings_of_the_user",
        "integration.test_matrix.Matrix.test_hooks_safe",
        "integration.test_matrix.Matrix.test_fsmonitor_safe",
    ),
    32: shown(
        "location.test_git.Environment.test_the_allow_list",
        "integration.test_submodules.Submodules.test_files_in_lfs",
        documented=True,
    ),
    33: shown(
        "integration.test_git.HostileSettings.test_settings_of_the_user",
        "integration.test_git.Remotes.test_a_credential_helper",
        "integration.test_matrix.Matrix.test_hostile_user_config_safe",
        "integration.test_matrix.Matrix.test_hostile_user_config_follow",
        documented=True,
    ),
    34: shown(
        "integration.test_git.HostileSettings.test_a_checkout_of_another_user",
        "integration.test_matrix.Matrix.test_another_owner_safe",
    ),
    35: shown(
        "integration.test_matrix.Matrix.test_inside_another_repository_safe",
        "integration.test_matrix.Matrix.test_inside_another_repository_follow",
    ),
    36: shown(
        "integration.test_update.Updates.test_reading_the_config",
    ),
    37: shown(
        "integration.test_matrix.Matrix.test_tag_named_like_the_branch_safe",
    ),
    38: shown(
        "deploy.test_decide.NotABranchTests.test_deletion",
        "integration.test_matrix.Matrix.test_branch_deleted_safe",
        "integration.test_matrix.Matrix.test_branch_deleted_follow",
    ),
    39: shown(
        "integration.test_update.Updates.test_local_commits",
        "integration.test_matrix.Matrix.test_history_rewritten_safe",
        "integration.test_matrix.Matrix.test_history_rewritten_ff_only",
        "integration.test_matrix.Matrix.test_local_commits_ff_only",
        documented=True,
        otherwise="settled otherwise: `update` says what happens, and follows only what holds nothing local",
    ),
    40: shown(
        "integration.test_update.Updates.test_an_edited_file_in_the_way",
        "integration.test_update.Updates.test_an_ignored_file_in_the_way",
        "integration.test_update.Updates.test_git_gives_up_before_it_changes_anything",
        "integration.test_matrix.Matrix.test_dirty_file_in_the_way_safe",
        "integration.test_matrix.Matrix.test_untracked_file_in_the_way_safe",
        "integration.test_matrix.Matrix.test_ignored_file_in_the_way_safe",
        "integration.test_matrix.Matrix.test_ignored_file_in_the_way_follow",
        documented=True,
        otherwise="settled otherwise: `update` says what happens, and `follow` keeps what it overwrites",
    ),
    41: shown(
        "integration.test_matrix.Matrix.test_merge_in_progress_safe",
        "integration.test_matrix.Matrix.test_bisect_in_progress_safe",
        "integration.test_matrix.Matrix.test_detached_head_safe",
    ),
    42: shown(
        "integration.test_update.Updates.test_an_update_that_was_cut_off",
        "integration.test_update.Updates.test_a_first_checkout_that_was_cut_off",
        "integration.test_kills.Kills.test_kills_at_random_moments",
        "processes.test_child.Running.test_too_long",
        "integration.test_matrix.Matrix.test_index_locked_by_another_git_safe",
    ),
    43: shown(
        "integration.test_restart.Restart.test_a_kill_in_the_middle_of_a_fetch",
        "deploy.test_lanes.OneAtATime.test_woken_while_it_runs",
    ),
    44: shown(
        "integration.test_git.Remotes.test_a_host_that_asks_for_a_password",
        "location.test_git.Environment.test_the_allow_list",
        "integration.test_matrix.Matrix.test_remote_asking_for_a_password_safe",
    ),
    45: shown(
        "integration.test_git.Remotes.test_a_host_that_hangs",
        "location.test_git.Running.test_what_is_run",
        "location.test_git.Environment.test_the_allow_list",
        "integration.test_matrix.Matrix.test_remote_hanging_safe",
    ),
    46: shown(
        "test_settings.TrustTableTests.test_urls_with_secrets",
        "location.test_git.Errors.test_no_credentials",
        "location.test_git.Running.test_credentials_in_pieces",
    ),
    47: shown(
        "integration.test_matrix.Matrix.test_shallow_clone_safe",
    ),
    48: shown(
        "integration.test_faults.State.test_pushes_to_a_full_disk",
        "integration.test_faults.State.test_a_database_that_another_holds",
        "integration.test_faults.Location.test_a_full_disk",
        "integration.test_faults.Location.test_read_only",
        "integration.test_update.Updates.test_what_cannot_be_written",
        "integration.test_submodules.Submodules.test_one_that_cannot_be_written",
    ),
    49: shown(
        "deploy.test_script.Interpreters.test_a_link",
        documented=True,
    ),
    50: shown(
        "integration.test_git.Remotes.test_a_repository_that_has_moved",
        "integration.test_matrix.Matrix.test_remote_renamed_at_the_git_host_safe",
        documented=True,
    ),
    51: shown(
        "integration.test_matrix.Matrix.test_sha256_safe",
    ),
    52: shown(
        "integration.test_git.Remotes.test_a_host_that_hangs",
        "processes.test_child.Running.test_much_on_standard_error",
        documented=True,
    ),
    53: shown(
        "deploy.test_deployer.Choosing.test_refused",
        "deploy.test_deployer.Choosing.test_a_move_is_refused_before_it_is_made",
        "test_settings.TrustTableTests.test_a_trust_replaces_the_default",
        documented=True,
        otherwise="settled otherwise: the generated secret is trusted; limits are set by `[[trust]]`",
    ),
    54: shown(
        "location.test_bounds.Places.test_a_link_that_leads_out",
        "location.test_bounds.Places.test_among_the_files_of_git_and_of_ours",
        "integration.test_main_job.MainJob.test_a_location_behind_a_link",
        "hostconfig.test_resolve.ComplaintTests.test_wrong_values",
        "integration.test_matrix.Matrix.test_not_a_repository_safe",
        documented=True,
    ),
    55: shown(
        "deploy.test_script.Interpreters.test_an_interpreter_that_is_missing",
        "deploy.test_script.Interpreters.test_lines_of_windows",
        "deploy.test_script.Interpreters.test_a_nul",
        "deploy.test_script.Interpreters.test_what_is_not_there",
        "deploy.test_script.Interpreters.test_a_link",
        "integration.test_main_job.MainJob.test_what_a_script_file_may_be",
        "integration.test_git.Names.test_a_repository_that_a_checkout_has_brought",
        "test_settings.TrustTests.test_a_script_cannot_climb_out_of_its_folder",
        "hostconfig.test_resolve.ComplaintTests.test_wrong_values",
        documented=True,
        otherwise="settled otherwise: absolute scripts are allowed unless a trust limits them",
    ),
    56: shown(
        "test_names.OtherNameTests.test_remotes",
        "location.test_source.ServedByTests.test_another_place",
        "hostconfig.test_resolve.ComplaintTests.test_wrong_values",
        "integration.test_matrix.Matrix.test_checkout_of_another_repository_safe",
    ),
    57: shown(
        "hostconfig.test_resolve.ComplaintTests.test_wrong_values",
        "hostconfig.test_resolve.ComplaintTests.test_an_unknown_key",
        "hostconfig.test_resolve.ExampleTests.test_values_know_their_layer",
        "hostconfig.test_resolve.AnyTextTests.test_any_json",
    ),
    58: shown(
        "integration.test_main_job.MainJob.test_from_a_push_to_a_deployed_host",
        "integration.test_main_job.MainJob.test_a_config_that_was_mended",
    ),
    59: shown(
        "integration.test_acts.Acts.test_retry_and_roll_back",
    ),
    60: shown(
        "integration.test_main_job.MainJob.test_from_a_push_to_a_deployed_host",
        "deploy.test_script.Environment.test_the_allow_list",
        "processes.test_child.Running.test_the_environment",
    ),
    61: shown(
        "integration.test_main_job.MainJob.test_from_a_push_to_a_deployed_host",
        "integration.test_hook.Hook.test_with_curl_and_openssl",
        "test_settings.TrustTableTests.test_urls_with_secrets",
    ),
    62: shown(
        "deploy.test_script.Environment.test_ours",
        documented=True,
    ),
    63: shown(
        "integration.test_main_job.MainJob.test_a_background_process",
        "processes.test_child.Running.test_a_grandchild_that_holds_the_output",
    ),
    64: shown(
        "integration.test_main_job.MainJob.test_a_timeout",
        "processes.test_child.Signals.test_to_a_group",
        documented=True,
    ),
    65: shown(
        "deploy.test_script.Ending.test_a_script_that_does_not_listen",
        "deploy.test_script.Ending.test_a_child_that_does_not_listen",
        "deploy.test_script.Ending.test_a_wrapper_that_was_killed_alone",
    ),
    66: shown(
        "integration.test_main_job.MainJob.test_from_a_push_to_a_deployed_host",
        "processes.test_child.Running.test_descriptors",
        "integration.test_spawn.Spawned.test_what_it_finds",
    ),
    67: shown(
        "integration.test_main_job.MainJob.test_a_script_that_prints_without_end",
        "deploy.test_scripts.Prepared.test_it_goes_on_printing_too_much",
        "deploy.test_deployer.GrowingLogs.test_what_was_left_behind_prints_on",
        documented=True,
    ),
    68: shown(
        "web.test_stream.Events.test_bytes_that_are_no_text",
        "web.test_stream.Events.test_characters_are_not_split",
        "web.test_stream.Events.test_line_breaks_do_not_break_the_stream",
    ),
    69: shown(
        "integration.test_restart.Restart.test_a_script_goes_on_when_the_server_is_killed",
        "integration.test_restart.Restart.test_a_cancel_before_a_kill",
        "integration.test_restart.Restart.test_a_script_whose_wrapper_is_killed",
        "integration.test_restart.Restart.test_a_script_whose_wrapper_is_killed_with_the_server",
        "integration.test_restart.Restart.test_two_servers_and_one_location",
        "integration.test_restart.Restart.test_a_helper_that_stays",
        "deploy.test_script.PickingUp.test_another_process",
    ),
    70: shown(
        "test_statefiles.Secrets.test_a_start_that_is_cut_off",
        "journal.test_store.Tables.test_commits_reach_the_disk",
        "location.test_unfinished.Notes.test_it_is_a_link",
        "location.test_unfinished.Notes.test_the_machine_was_started_anew",
        "integration.test_power.Power.test_after_a_deploy",
        "integration.test_power.Power.test_in_the_middle_of_a_deploy",
        "integration.test_power.Power.test_a_damaged_repository",
        "journal.test_store.SharedCommits.test_what_is_flushed",
        "location.test_unfinished.Notes.test_half_a_note",
        "deploy.test_script.Starting.test_status",
    ),
    71: shown(
        "integration.test_restart.Restart.test_two_servers_and_one_location",
        documented=True,
    ),
    72: shown(
        "journal.test_history.History.test_a_clock_that_goes_back",
        "report.test_outbox.Restarts.test_a_clock_that_was_ahead",
        "report.test_outbox.Restarts.test_a_clock_that_is_set",
        "report.test_outbox.Restarts.test_the_longest_wait",
        "journal.test_store.Tables.test_waits_of_before",
        "integration.test_clock.SetClock.test_set_forward",
        "integration.test_clock.SetClock.test_set_back",
        "integration.test_restart.Restart.test_the_deadline_survives",
        documented=True,
    ),
    73: shown(
        "integration.test_deploys.Deploys.test_many_deploys",
    ),
    74: shown(
        "integration.test_restart.Restart.test_a_script_that_restarts_the_server",
        documented=True,
    ),
    75: shown(
        "test_tap.Starting.test_root",
        "integration.test_service.Start.test_not_as_root",
    ),
    76: shown(
        "integration.test_pages.HarmTests.test_hostile_names",
        "integration.test_pages.ProgramTests.test_headers",
    ),
    77: shown(
        "web.test_ansi.RenderTests.test_what_would_act",
        "web.test_ansi.RenderTests.test_a_line_that_plays",
    ),
    78: shown("integration.test_pages.HarmTests.test_hostile_names"),
    79: shown(
        "integration.test_pages.ActTests.test_forms_of_others",
        "web.test_access.ActingTests.test_a_form_of_another_site",
    ),
    80: shown("integration.test_service.Access.test_unknown_hosts"),
    81: shown("integration.test_pages.ProgramTests.test_headers"),
    82: shown("integration.test_pages.ActTests.test_ways_out"),
    83: shown(
        "test_settings.DefaultTests.test_everything_has_a_default",
        "integration.test_service.Access.test_reading_needs_the_token",
    ),
    84: shown(
        "report.test_http.Asking.test_only_https",
        "report.test_http.Asking.test_a_long_answer",
        "report.test_http.Asking.test_late",
        "integration.test_outgoing.Floods.test_headers_without_end",
        "integration.test_outgoing.Floods.test_a_body_without_end",
        otherwise="settled otherwise: a receiver's address is the administrator's own, and may be"
        " on a private network",
        documented=True,
    ),
    85: shown(
        "report.test_http.Asking.test_a_redirect",
        "integration.test_report.Reports.test_no_redirect_is_followed",
        "integration.test_report.Reports.test_troubles",
    ),
    86: shown(
        "report.test_outbox.Queues.test_secrets",
        "report.test_outbox.Queues.test_a_secret_that_would_be_cut",
        "report.test_forges.Statuses.test_what_must_never_be_repeated",
        "report.test_notify.Sending.test_a_token_of_the_url",
        "integration.test_report.Reports.test_secrets",
    ),
    87: shown(
        "web.test_tail.Following.test_one_that_never_reads",
        "integration.test_pages.ProgramTests.test_a_hundred_viewers",
    ),
    88: shown(
        "web.test_tail.Following.test_one_look_for_all",
        "web.test_tail.Following.test_too_many",
    ),
    89: shown("web.test_tail.Following.test_odd_bytes"),
    90: shown("integration.test_pages.ProgramTests.test_numbers_only"),
    91: shown(
        "report.test_answers.Verdicts.test_no_answer",
        "integration.test_report.Reports.test_troubles",
    ),
    92: shown("integration.test_pages.ProgramTests.test_metrics_and_badge"),
}


def find(name: str) -> Any:
    """The test of that name."""
    module, case, method = name.rsplit(".", 2)
    return getattr(getattr(importlib.import_module(module), case), method)


def numbers(text: str) -> set[int]:
    """The numbers in a text such as `39, 40 and 41`."""
    return {int(number) for number in re.findall(r"\d+", text)}


class ThreatTests(SynchronousTestCase):
    def test_every_row(self) -> None:
        """Every threat is in the table, and is shown by a test."""
        self.assertEqual(sorted(THREATS), list(range(1, 93)))
        self.assertEqual([number for number, row in THREATS.items() if not row.tests], [])

    def test_every_test(self) -> None:
        """Each of these tests exists, and says which threat it is about."""
        for number, row in THREATS.items():
            for name in row.tests:
                documented = find(name).__doc__ or ""
                said = re.findall(r"threats? ((?:\d+|, | and )+)", documented)
                self.assertIn(number, numbers(" ".join(said)), name)

    def test_every_test_is_in_the_table(self) -> None:
        """A test that says that it is about a threat stands in the table."""
        for path in sorted(TESTS.rglob("test_*.py")):
            if path == Path(__file__):
                continue
            module = ".".join(("tests", *path.relative_to(TESTS).with_suffix("").parts))
            for node in ast.parse(path.read_text()).body:
                for test in node.body if isinstance(node, ast.ClassDef) else ():
                    if not isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef):
                        continue
                    said = re.findall(
                        r"threats? ((?:\d+|, | and )+)", ast.get_docstring(test) or ""
                    )
                    for number in numbers(" ".join(said)) & set(THREATS):
                        name = f"{module}.{getattr(node, 'name', '')}.{test.name}"
                        self.assertIn(name, THREATS[number].tests)

    def test_the_settled_ones(self) -> None:
        """What is settled otherwise says so, and the rest of it is documented."""
        settled = {number: row.otherwise for number, row in THREATS.items() if row.otherwise}
        self.assertEqual(sorted(settled), [9, 10, 17, 30, 39, 40, 53, 55, 84])
        for number, reason in settled.items():
            self.assertTrue(reason.startswith("settled otherwise: "), reason)
            self.assertTrue(number <= 25 or THREATS[number].documented, number)

    def test_the_page(self) -> None:
        """The page says, under each of its numbers, what happens and what is left to its reader."""
        said: dict[int, tuple[str, str]] = {}
        for line in (TESTS.parent / "docs" / "threats.md").read_text().splitlines():
            found = re.fullmatch(r"\| ([\d, ]+) \| (.+) \| (.+) \|", line)
            if found:
                said.update(dict.fromkeys(numbers(found[1]), (found[2], found[3])))
        self.assertEqual(
            sorted(said), [number for number, row in THREATS.items() if row.documented]
        )
        for number, (happens, left) in said.items():
            for text in (happens, left):
                self.assertGreater(len(text.split()), 4, number)
                self.assertTrue(text.endswith("."), text)
