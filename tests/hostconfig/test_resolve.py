"""What a repository's config says to this host, and how it says what is wrong."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from integralgit.hostconfig import resolve as resolve_module
from integralgit.hostconfig.keys import KEYS
from integralgit.hostconfig.resolve import (
    MOST_ERRORS,
    MOST_PATTERNS,
    ConfigError,
    Deployment,
    HostConfig,
    Value,
    deployments,
    digests,
    resolve,
)

EXAMPLE = """{
  "hostgroups": {"web": ["web1", "web2"], "staging": ["stage1"]},
  "configs": {
    "base":    {"location": "/srv/site", "script": "./deploy.sh", "branch": "main"},
    "staging": {"branch": "dev"},
    "web2":    {"script": "/opt/special.sh"}
  }
}"""


def resolved(document: Any, host: str = "web1") -> HostConfig:
    """What a config says to one host."""
    (one,) = resolve(json.dumps(document), (host,))
    return one


def entries(configs: dict[str, Any], hostgroups: Any = None, host: str = "web1") -> HostConfig:
    """What these entries say to one host."""
    return resolved({"hostgroups": hostgroups or {}, "configs": configs}, host)


def deployment(configs: dict[str, Any], hostgroups: Any = None, host: str = "web1") -> Deployment:
    """The deployment that these entries give to one host, without a complaint."""
    one = entries(configs, hostgroups, host)
    assert one.deployment is not None, one.errors
    assert one.errors == ()
    return one.deployment


def unusable(document: Any, *hosts: str) -> str:
    """Why the file cannot be used at all."""
    text = document if isinstance(document, str) else json.dumps(document)
    try:
        found = resolve(text, hosts or ("web1",))
    except ConfigError as error:
        return str(error)
    raise AssertionError(f"it was taken: {found}")


class ExampleTests(SynchronousTestCase):
    def test_the_contracts_example(self) -> None:
        """Each host of the contract's example gets what the contract says."""
        for host, branch, script in (
            ("web1", "main", "./deploy.sh"),
            ("web2", "main", "/opt/special.sh"),
            ("stage1", "dev", "./deploy.sh"),
        ):
            (one,) = resolve(EXAMPLE, (host,))
            wanted = Deployment(host, "/srv/site", branch, script=script)
            self.assertEqual((one.deployment, one.warnings, one.errors), (wanted, (), ()))
            self.assertEqual(deployments([one]), (wanted,))

    def test_a_host_that_nobody_named(self) -> None:
        """A host that no group and no entry names gets what `base` says."""
        (other,) = resolve(EXAMPLE, ("db1",))
        self.assertEqual(
            other.deployment, Deployment("db1", "/srv/site", "main", script="./deploy.sh")
        )

    def test_values_know_their_layer(self) -> None:
        """Every value tells the layer that it comes from (threat 57)."""
        (one,) = resolve(EXAMPLE, ("web2",))
        self.assertEqual(one.values["location"], Value("/srv/site", "base"))
        self.assertEqual(one.values["script"], Value("/opt/special.sh", "web2"))
        self.assertEqual(one.values["timeout"], Value(900.0, "default"))

    def test_defaults(self) -> None:
        """A config with only a location has the contract's defaults for all else."""
        self.assertEqual(
            deployment({"base": {"location": "/srv/site"}}),
            Deployment(
                host="web1",
                location="/srv/site",
                branch="master",
                remote="origin",
                script=None,
                timeout=900.0,
                env={},
                update="safe",
            ),
        )


class LayerTests(SynchronousTestCase):
    def test_later_wins(self) -> None:
        """Base, then the groups in alphabetical order, then the host: later wins, key by key."""
        hostgroups = {"zoo": ["web1"], "all": ["web1"], "mid": ["web1"], "other": ["web2"]}
        layers = ["base", "all", "mid", "zoo", "web1"]
        for last in range(len(layers)):
            configs: dict[str, Any] = {
                name: {"branch": f"of-{name}"} for name in reversed(layers[: last + 1])
            }
            configs["base"]["location"] = "/srv/site"
            configs["other"] = {"branch": "of-other"}
            one = entries(configs, hostgroups)
            self.assertEqual(one.values["branch"], Value(f"of-{layers[last]}", layers[last]))

    def test_the_alphabet_knows_no_case(self) -> None:
        """Groups apply in alphabetical order, in which capital letters do not come first."""
        for first, second in (("app", "Web"), ("App", "web"), ("Web", "web")):
            configs = {
                "base": {"location": "/srv/site"},
                second: {"branch": "second"},
                first: {"branch": "first"},
            }
            found = deployment(configs, {second: ["web1"], first: ["web1"]})
            self.assertEqual(found.branch, "second", first)

    def test_keys_of_different_layers_are_united(self) -> None:
        """What one layer does not say stays as another said it."""
        found = deployment(
            {
                "web1": {"timeout": "15m"},
                "web": {"script": "deploy.sh", "remote": "upstream"},
                "base": {"location": "/srv/site", "remote": "origin", "update": "follow"},
            },
            {"web": ["web1"]},
        )
        self.assertEqual(
            found,
            Deployment(
                "web1",
                "/srv/site",
                "master",
                remote="upstream",
                script="deploy.sh",
                timeout=900.0,
                update="follow",
            ),
        )

    def test_env_is_merged_key_by_key(self) -> None:
        """Each variable is inherited and replaced by itself, and `null` takes it away."""
        one = entries(
            {
                "base": {"location": "/srv/site", "env": {"A": "1", "B": "1", "C": "1"}},
                "web": {"env": {"B": "2", "D": "2"}},
                "web1": {"env": {"C": None, "E": ""}},
            },
            {"web": ["web1"]},
        )
        assert one.deployment is not None
        self.assertEqual(one.deployment.env, {"A": "1", "B": "2", "D": "2", "E": ""})
        self.assertEqual(one.values["env.B"], Value("2", "web"))
        self.assertNotIn("env.C", one.values)

    def test_null_unsets(self) -> None:
        """`null` brings a key back to its default, and `env: null` takes all variables away."""
        found = deployment(
            {
                "base": {
                    "location": "/srv/site",
                    "branch": "main",
                    "script": "deploy.sh",
                    "timeout": 5,
                    "env": {"A": "1"},
                },
                "web1": {"branch": None, "script": None, "timeout": None, "env": None},
            }
        )
        self.assertEqual(found, Deployment("web1", "/srv/site", "master"))

    def test_a_variable_after_null(self) -> None:
        """After `env: null` a later layer may set variables again."""
        found = deployment(
            {
                "base": {"location": "/srv/site", "env": {"A": "1"}},
                "web": {"env": None},
                "web1": {"env": {"B": "2"}},
            },
            {"web": ["web1"]},
        )
        self.assertEqual(found.env, {"B": "2"})


class HostNameTests(SynchronousTestCase):
    BASE: dict[str, Any] = {"location": "/srv/site"}  # noqa: RUF012 - never changed

    def branch(self, name: str, host: str, hostgroups: Any = None) -> str:
        """The branch for the host where the entry of that name asks for `dev`."""
        configs = {"base": self.BASE, name: {"branch": "dev"}}
        return deployment(configs, hostgroups, host).branch

    def test_full_name_short_name_and_case(self) -> None:
        """A name means a host by its full name or the part before the first dot, in any case."""
        for name, host in (
            ("web1", "web1"),
            ("web1", "web1.example.com"),
            ("web1.example.com", "web1.example.com"),
            ("WEB1", "web1.example.com"),
            ("Web1.Example.Com", "wEB1.eXAMPLE.cOM"),
        ):
            self.assertEqual(self.branch(name, host), "dev", (name, host))

    def test_names_of_other_hosts(self) -> None:
        """A longer, shorter or otherwise different name is another host's."""
        for name, host in (
            ("web1.example.com", "web1"),
            ("web1.example.com", "web1.example.org"),
            ("web1.example", "web1.example.com"),
            ("web", "web1"),
            ("web11", "web1"),
            ("web*", "web1"),
            ("example.com", "web1.example.com"),
        ):
            self.assertEqual(self.branch(name, host), "master", (name, host))

    def test_the_full_name_is_more_particular(self) -> None:
        """Where both the short and the full name have an entry, the full name's wins, in any case."""
        for full in ("web1.example.com", "WEB1.example.com"):
            found = deployment(
                {
                    full: {"branch": "full"},
                    "web1": {"branch": "short", "script": "s.sh"},
                    "base": self.BASE,
                },
                host="web1.example.com",
            )
            self.assertEqual((found.branch, found.script), ("full", "s.sh"))

    def test_members_of_groups(self) -> None:
        """A group's member is a host by the same rules, or a shell pattern."""
        for member, host in (
            ("web1", "web1.example.com"),
            ("WEB1", "web1"),
            ("web1.example.com", "WEB1.example.com"),
            ("web*", "web1"),
            ("web?", "web1.example.com"),
            ("web[12]", "web1"),
            ("WEB*", "web1"),
            ("*.example.com", "web1.example.com"),
            ("*", "web1"),
        ):
            branch = self.branch("group", host, {"group": ["nobody", member]})
            self.assertEqual(branch, "dev", (member, host))

    def test_not_members_of_groups(self) -> None:
        """What neither names the host nor matches it does not put it into the group."""
        for members in (["web2"], ["web"], ["web[2-9]"], ["*.example.com"], ["eb*"], [""], []):
            branch = self.branch("group", "web1", {"group": members})
            self.assertEqual(branch, "master", members)

    def test_several_names(self) -> None:
        """A server with several names serves the locations of each, in their order."""
        text = json.dumps(
            {
                "configs": {
                    "base": {"branch": "main"},
                    "live": {"location": "/srv/live"},
                    "test": {"location": "/srv/test", "branch": "dev"},
                }
            }
        )
        self.assertEqual(
            deployments(resolve(text, ("test", "live"))),
            (Deployment("test", "/srv/test", "dev"), Deployment("live", "/srv/live", "main")),
        )

    def test_one_location_twice_alike(self) -> None:
        """Two names that say the same of one location are one deployment."""
        configs = resolve(EXAMPLE, ("db1", "db2"))
        self.assertEqual([one.host for one in deployments(configs)], ["db1"])

    def test_one_location_twice_differently(self) -> None:
        """Two names that give one location different settings are an error that names them."""
        error = unusable(EXAMPLE, "web1", "web2")
        for part in ("web1", "web2", "/srv/site", "different settings"):
            self.assertIn(part, error)

    def test_one_location_spelled_differently(self) -> None:
        """Two spellings of one path are one location."""
        document = {
            "configs": {"web1": {"location": "/srv/site/"}, "web2": {"location": "//srv/./site"}}
        }
        found = deployments(resolve(json.dumps(document), ("web1", "web2")))
        self.assertEqual([one.location for one in found], ["/srv/site"])


class GroupTests(SynchronousTestCase):
    def test_the_older_name(self) -> None:
        """`groups` is read as `hostgroups`, and a notice says so."""
        one = resolved({"groups": {"web": ["web1"]}, "configs": {"web": {"location": "/srv/site"}}})
        assert one.deployment is not None
        (notice,) = one.warnings
        self.assertIn("`groups`", notice)
        self.assertIn("`hostgroups`", notice)
        self.assertEqual(one.errors, ())

    def test_both_names(self) -> None:
        """Both names at once leave open which is meant, and are an error."""
        error = unusable({"groups": {}, "hostgroups": {}, "configs": {}})
        self.assertIn("`groups`", error)
        self.assertIn("`hostgroups`", error)

    def test_a_group_called_base(self) -> None:
        """A group called `base` is an error, in any case."""
        for name in ("base", "BASE"):
            self.assertIn("`base`", unusable({"hostgroups": {name: []}, "configs": {}}))

    def test_a_group_called_like_the_host(self) -> None:
        """A group called like the host is a warning, and applies before the host's own entry."""
        configs = {
            "base": {"location": "/srv/site"},
            "web1": {"branch": "group"},
            "web1.example.com": {"branch": "host"},
        }
        one = entries(configs, {"web1": ["web1"]}, "web1.example.com")
        (warning,) = one.warnings
        self.assertIn("`web1`", warning)
        self.assertEqual(one.values["branch"], Value("host", "web1.example.com"))

    def test_a_group_called_like_the_host_applies_once(self) -> None:
        """Its entry is the host's own one too: read once, it wins over every other group."""
        one = entries(
            {
                "base": {"location": "/srv/site"},
                "zoo": {"branch": "zoo"},
                "web1": {"branch": "own", "colour": "blue"},
            },
            {"web1": ["web1"], "zoo": ["web1"]},
        )
        self.assertEqual(one.values["branch"], Value("own", "web1"))
        self.assertEqual(["colour" in warning for warning in one.warnings], [False, True])

    def test_a_group_called_like_the_host_that_does_not_hold_it(self) -> None:
        """Whether such a group holds the host or not, its entry is the host's, and that is warned of."""
        configs = {"base": {"location": "/srv/site"}, "web1": {"branch": "dev"}}
        for members in ([], ["web2"], ["web1"]):
            one = entries(configs, {"web1": members})
            (warning,) = one.warnings
            self.assertIn("host group `web1` is called like the host", warning)
            self.assertEqual(one.values["branch"], Value("dev", "web1"))

    def test_a_group_called_like_the_host_without_an_entry(self) -> None:
        """A group called like the host that no entry speaks of is not worth a warning."""
        one = entries({"base": {"location": "/srv/site"}}, {"web1": ["web1"]})
        self.assertEqual(one.warnings, ())

    def test_what_is_no_object_of_groups(self) -> None:
        """Empty values of other types are no host groups; `null` is as good as none."""
        nothing: list[Any] = [[], 0, "", False, 0.0]
        for name in ("hostgroups", "groups"):
            for value in nothing:
                told = unusable({name: value, "configs": {}})
                self.assertEqual(told, "`hostgroups` must be an object of lists")
            one = resolved({name: None, "configs": {"base": {"location": "/srv/site"}}})
            self.assertIsNotNone(one.deployment)

    def test_a_group_without_an_entry(self) -> None:
        """A group that no entry speaks of changes nothing."""
        self.assertEqual(
            deployment({"base": {"location": "/srv/site"}}, {"web": ["web1"]}),
            Deployment("web1", "/srv/site", "master"),
        )


class NothingToDeployTests(SynchronousTestCase):
    def test_only_base_and_no_location(self) -> None:
        """Where only `base` speaks and names no location, there is nothing to deploy."""
        silent: list[dict[str, Any]] = [
            {},
            {"base": {}},
            {"base": {"branch": "main"}},
            {"web2": {"branch": "x"}},
        ]
        for configs in silent:
            one = entries(configs)
            self.assertEqual((one.deployment, one.errors, one.warnings), (None, (), ()))
            self.assertEqual(deployments([one]), ())

    def test_an_entry_and_no_location(self) -> None:
        """Where a group or the host's entry speaks and no location results, that is an error."""
        without: list[dict[str, Any]] = [
            {"web1": {"branch": "main"}},
            {"web": {"branch": "main"}},
            {"web": {}},
            {"base": {"location": "/srv/site"}, "web1": {"location": None}},
        ]
        for configs in without:
            one = entries(configs, {"web": ["web1"]})
            self.assertIsNone(one.deployment)
            (error,) = one.errors
            self.assertIn("host web1", error)
            self.assertIn("key location", error)
            raised = self.assertRaises(ConfigError, deployments, [one])
            self.assertEqual(str(raised), error)


class ComplaintTests(SynchronousTestCase):
    def test_an_unknown_key(self) -> None:
        """An unknown key is a warning that names host, layer and key; the rest counts (threat 57)."""
        one = entries({"base": {"location": "/srv/site"}, "web1": {"colour": "blue"}})
        self.assertIsNotNone(one.deployment)
        self.assertEqual(one.errors, ())
        (warning,) = one.warnings
        for part in ("host web1", "layer web1", "colour", "unknown"):
            self.assertIn(part, warning)
        self.assertNotIn("did you mean", warning)

    def test_a_near_miss(self) -> None:
        """A near miss is told what may have been meant."""
        for wrong, meant in (
            ("scirpt", "script"),
            ("locaton", "location"),
            ("time_out", "timeout"),
            ("Branch", "branch"),
            ("LOCATION", "location"),
            ("submodule", "submodules"),
        ):
            (warning,) = entries({"base": {"location": "/srv/site", wrong: "x"}}).warnings
            self.assertIn(f"did you mean `{meant}`?", warning)

    def test_a_near_miss_of_base(self) -> None:
        """An entry that is almost called `base` speaks for no host, and a warning asks about it."""
        for wrong in ("Base", "BASE", "bsae"):
            one = entries({wrong: {"location": "/srv/site"}})
            self.assertIsNone(one.deployment)
            (warning,) = one.warnings
            self.assertIn(f"the entry `{wrong}` is read as that of a host: did you mean", warning)
            self.assertEqual(entries({wrong: {}}, host=wrong).warnings, ())
        self.assertEqual(
            entries({"base1": {}, "database": {}, "sabe": {}}, {"sabe": []}).warnings, ()
        )

    def test_an_unknown_key_of_the_file(self) -> None:
        """An unknown key beside `configs` is a warning with a suggestion too."""
        (warning,) = resolved({"hostgroup": {}, "configs": {}}).warnings
        self.assertIn("`hostgroup`", warning)
        self.assertIn("did you mean `hostgroups`?", warning)

    def test_unknown_keys_of_the_file_are_sorted(self) -> None:
        """Several unknown keys are told in alphabetical order, the same on every run."""
        keys = [f"zz{number:02}" for number in range(20)]
        one = resolved({"configs": {}, **dict.fromkeys(reversed(keys), 1)})
        wanted = tuple(f"unknown key `{key}` in the file" for key in keys)
        self.assertEqual(one.warnings, wanted)

    def test_the_branch_of_the_config(self) -> None:
        """The branch that carries the config is not one to deploy."""
        one = entries({"base": {"location": "/srv/site", "branch": "integralgit"}})
        self.assertIsNone(one.deployment)
        self.assertEqual(
            one.errors,
            (
                "host web1, layer base, key branch: branch must be the name of a branch to deploy,"
                " not 'integralgit'",
            ),
        )

    def test_a_number_beyond_all_floats(self) -> None:
        """A timeout too large to reckon with is an error that names its key."""
        for number in (10**400, -(10**400)):
            one = entries({"base": {"location": "/srv/site", "timeout": number}})
            self.assertIsNone(one.deployment)
            self.assertEqual(
                one.errors, ("host web1, layer base, key timeout: timeout is out of range",)
            )

    def test_half_of_a_surrogate_pair(self) -> None:
        """Half of a surrogate pair, which cannot be stored or shown, makes the file unusable."""
        base = {"location": "/srv/site"}
        documents: list[Any] = [
            {"configs": {"base": {"location": "/srv/\ud800"}}},
            {"configs": {"base": {**base, "env": {"A": "\udfff"}}}},
            {"configs": {"base": {**base, "env": {"\udc00": "x"}}}},
            {"configs": {"base": {**base, "other": [{"deep": ["\ud800"]}]}}},
            {"configs": {"base": {**base, "\ud800": 1}}},
            {"configs": {"base": base, "\udc00": {}}},
            {"configs": {"base": base, "web2": {"branch": "\udc00"}}},
            {"configs": {"base": base}, "hostgroups": {"web": ["\ud83d"]}},
            {"configs": {"base": base}, "groups": {"\ud83d": []}},
            {"configs": {"base": base}, "\ud800": 1},
            {"configs": {"base": base}, "other": "\ud800"},
        ]
        for document in documents:
            self.assertIn("half of a surrogate pair", unusable(document), ascii(document))
        whole = deployment({"base": {"location": "/srv/\U0001f600"}})
        self.assertEqual(whole.location, "/srv/\U0001f600")

    def test_wrong_values(self) -> None:
        """A wrong value is an error that names host, layer and key, and deploys nothing (threats 26, 54, 55, 56 and 57)."""
        wrong: list[tuple[str, Any]] = [
            ("location", 5),
            ("location", ""),
            ("location", []),
            ("location", "srv/site"),
            ("location", "~/site"),
            ("location", "/"),
            ("location", "//"),
            ("location", "/srv/.."),
            ("location", "/srv/../etc"),
            ("location", "/srv/si\nte"),
            ("location", "/srv/si\0te"),
            ("script", 5),
            ("script", ""),
            ("script", ["deploy.sh"]),
            ("script", "../deploy.sh"),
            ("script", "bin/../../deploy.sh"),
            ("script", "."),
            ("script", "./"),
            ("script", "deploy.sh\0"),
            ("branch", 5),
            ("branch", ""),
            ("branch", "-x"),
            ("branch", "@"),
            ("branch", "HEAD"),
            ("branch", "a..b"),
            ("remote", "--upload-pack=x"),
            ("remote", "https://github.com/acme/site"),
            ("remote", True),
            ("timeout", 0),
            ("timeout", -5),
            ("timeout", "soon"),
            ("timeout", "15 parsecs"),
            ("timeout", True),
            ("timeout", []),
            ("timeout", 1e300),
            ("env", []),
            ("env", "A=1"),
            ("env", {"A": 1}),
            ("env", {"A": True}),
            ("env", {"A": ["x"]}),
            ("env", {"A": "\0"}),
            ("env", {"": "x"}),
            ("env", {"A B": "x"}),
            ("env", {"1A": "x"}),
            ("env", {"A=B": "x"}),
            ("env", {"Ä": "x"}),
            ("update", "force"),
            ("update", ""),
            ("update", True),
            ("update", ["safe"]),
            ("health", "example.com"),
            ("health", "file:///etc/passwd"),
            ("health", "http://"),
            ("health", "http://["),
            ("health", 5),
            ("health_timeout", 0),
            ("health_timeout", {}),
            ("rollback", "yes"),
            ("rollback", 1),
            ("submodules", 0),
            ("submodules", "true"),
        ]
        for key, value in wrong:
            one = entries({"base": {"location": "/srv/site"}, "web1": {key: value}})
            self.assertIsNone(one.deployment, (key, value))
            self.assertEqual(len(one.errors), 1, (key, value))
            self.assertTrue(
                one.errors[0].startswith(f"host web1, layer web1, key {key}: {key} "),
                one.errors[0],
            )

    def test_a_roll_back_without_health(self) -> None:
        """`rollback` without `health` has no effect, and a warning says so."""
        base = {"location": "/srv/site", "rollback": True}
        (one,) = resolve(json.dumps({"configs": {"web1": base}}), ("web1",))
        self.assertEqual(
            one.warnings,
            ("host web1, layer web1, key rollback: it has no effect without `health`",),
        )
        asked = {**base, "health": "http://127.0.0.1/", "health_timeout": "1m"}
        (one,) = resolve(json.dumps({"configs": {"web1": asked}}), ("web1",))
        self.assertEqual(one.warnings, ())
        assert one.deployment is not None
        self.assertEqual(
            (one.deployment.health, one.deployment.health_timeout, one.deployment.rollback),
            ("http://127.0.0.1/", 60.0, True),
        )

    def test_every_error_is_told(self) -> None:
        """Several wrong values are several errors, each told once, and raised together."""
        one = entries({"base": {"location": "srv"}, "web1": {"branch": 5, "timeout": "x"}})
        self.assertEqual(
            one.errors,
            (
                "host web1, layer base, key location: location must be an absolute path, not 'srv'",
                "host web1, layer web1, key branch: branch must be text, not a number",
                "host web1, layer web1, key timeout: timeout must be a number or text such as"
                " \"15m\", not 'x'",
            ),
        )
        raised = self.assertRaises(ConfigError, deployments, [one])
        self.assertEqual(str(raised), "; ".join(one.errors))

    def test_many_errors(self) -> None:
        """The first few are told, and how many there are beside them."""
        wrong = {
            "location": 1,
            "branch": 2,
            "script": 3,
            "remote": 4,
            "update": 5,
            "health": 6,
            "env": 7,
        }
        one = entries({"web1": wrong})
        self.assertEqual(len(one.errors), 7)
        raised = str(self.assertRaises(ConfigError, deployments, [one]))
        self.assertEqual(raised, "; ".join([*one.errors[:MOST_ERRORS], "and 2 more"]))

    def test_an_entry_of_another_host(self) -> None:
        """A wrong value that is meant for another host does not disturb this one."""
        self.assertEqual(
            deployment({"base": {"location": "/srv/site"}, "web2": {"branch": 5}}).branch, "master"
        )

    def test_right_values(self) -> None:
        """Every key takes what the contract allows for it."""
        found = deployment(
            {
                "base": {
                    "location": "/srv//a/./site/",
                    "script": "bin/deploy.sh",
                    "branch": "release/1.0",
                    "remote": "my-fork",
                    "timeout": "15m",
                    "env": {"A": "x=1\ny", "_b2": ""},
                    "update": "ff-only",
                }
            }
        )
        self.assertEqual(
            found,
            Deployment(
                host="web1",
                location="/srv/a/site",
                script="bin/deploy.sh",
                branch="release/1.0",
                remote="my-fork",
                timeout=900.0,
                env={"A": "x=1\ny", "_b2": ""},
                update="ff-only",
            ),
        )
        for timeout, wanted in ((5, 5.0), (0.5, 0.5), ("2h", 7200.0)):
            told = deployment({"base": {"location": "/srv/site", "timeout": timeout}})
            self.assertEqual(told.timeout, wanted)
        for script in ("./deploy.sh", "/opt/special.sh", "..deploy.sh"):
            told = deployment({"base": {"location": "/srv/site", "script": script}})
            self.assertEqual(told.script, script)

    def test_unusable_files(self) -> None:
        """A file that is no JSON object with entries cannot be used at all."""
        for text in (
            "",
            "{",
            "null",
            "[]",
            "5",
            '"x"',
            "{}",
            '{"configs": null}',
            '{"configs": []}',
            '{"configs": {"base": []}}',
            '{"configs": {"base": null}}',
            '{"configs": {}, "hostgroups": ["web1"]}',
            '{"configs": {}, "hostgroups": "web1"}',
            '{"configs": {}, "hostgroups": {"web": "web1"}}',
            '{"configs": {}, "hostgroups": {"web": [1]}}',
            '{"configs": {}, "hostgroups": {"web": null}}',
            '{"configs": {}} x',
            "{'configs': {}}",
            '\ufeff{"configs": {}}',
            '{"configs": {"base": {"timeout": NaN}}}',
            '{"configs": {"base": {"timeout": -Infinity}}}',
            '{"configs": {"base": {"timeout": 1' + "0" * 5000 + "}}}",
            '{"configs": ' + "[" * 100_000 + "]" * 100_000 + "}",
        ):
            self.assertRegex(unusable(text), "config|host group|hostgroups")

    def test_where_the_json_breaks(self) -> None:
        """JSON that cannot be read is told with line and column."""
        self.assertIn("line 2, column 3", unusable("{\n  configs: {}\n}"))

    def test_a_key_twice(self) -> None:
        """A key that stands twice in one object leaves open which is meant, and is named."""
        error = unusable('{"configs": {"base": {"branch": "main", "branch": "dev"}}}')
        self.assertIn("'branch'", error)
        self.assertIn("twice", error)

    def test_a_key_twice_among_many(self) -> None:
        """Each key is looked at once: a key twice is found as soon as any other fault."""
        looks = 0

        class Key(str):
            __slots__ = ()

            def __eq__(self, other: object) -> bool:
                nonlocal looks
                looks += 1
                return str.__eq__(self, other)

            __hash__ = str.__hash__

        pairs: list[tuple[str, object]] = [(Key(number), 1) for number in (*range(1000), 999)]
        raised = self.assertRaises(ValueError, resolve_module._unique, pairs)
        self.assertEqual(str(raised), "the key '999' stands there twice")
        self.assertLess(looks, 10)

    def test_a_fault_is_remembered(self) -> None:
        """A file that cannot be used is read once, as one that can is, and told of anew each time."""
        read: list[str] = []
        original = resolve_module._read

        def counted(text: str) -> Any:
            read.append(text)
            return original(text)

        self.patch(resolve_module, "_read", counted)
        text = '{"configs": "a fault that no other test has"}'
        first, second = (self.assertRaises(ConfigError, resolve, text, ("web1",)) for _ in "ab")
        self.assertEqual((str(first), read), (str(second), [text]))
        self.assertIsNot(first, second)

    def test_many_patterns(self) -> None:
        """So many names may stand in host groups as there is room for, but not so many patterns."""
        names = [f"web{number}" for number in range(MOST_PATTERNS + 1)]
        configs = {"base": {"location": "/srv/site"}, "web": {"branch": "dev"}}
        self.assertEqual(deployment(configs, {"web": [*names, "web1"]}).branch, "dev")
        patterns = [f"{name}*" for name in names]
        self.assertEqual(deployment(configs, {"web": patterns[1:] * 2}).branch, "dev")
        told = unusable({"configs": configs, "hostgroups": {"web": patterns}})
        self.assertIn("more than 500 shell patterns; name the hosts", told)

    def test_entries_and_groups_are_named(self) -> None:
        """An entry or a group of a wrong type is named."""
        self.assertIn("`web2`", unusable({"configs": {"web2": "x"}}))
        self.assertIn("`web`", unusable({"configs": {}, "hostgroups": {"web": "web1"}}))


class AnyTextTests(SynchronousTestCase):
    NAMES = st.sampled_from(
        ["base", "web", "web1", "WEB1", "web1.example.com", "*", "[", "hostgroups", "groups", ""]
    )
    KEYS = st.one_of(
        st.sampled_from(
            [
                "location",
                "script",
                "scirpt",
                "branch",
                "remote",
                "timeout",
                "env",
                "update",
                "health",
                "health_timeout",
                "rollback",
                "submodules",
            ]
        ),
        st.text(max_size=8),
    )
    SCALARS: st.SearchStrategy[Any] = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=10),
        st.sampled_from(["/srv/site", "/srv/../x", "15m", "safe", "http://[", "main", "/"]),
    )
    VALUES = st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=4,
    )
    ENTRIES = st.one_of(st.dictionaries(KEYS, VALUES, max_size=4), SCALARS)
    DOCUMENTS = st.one_of(
        VALUES,
        st.fixed_dictionaries(
            {"configs": st.one_of(st.dictionaries(NAMES, ENTRIES, max_size=4), SCALARS)},
            optional={
                "hostgroups": st.dictionaries(NAMES, st.lists(NAMES, max_size=3), max_size=3),
                "groups": st.one_of(st.dictionaries(NAMES, st.lists(NAMES, max_size=3)), SCALARS),
                "other": SCALARS,
            },
        ),
        st.fixed_dictionaries(
            {
                "configs": st.dictionaries(
                    NAMES, st.dictionaries(KEYS, VALUES, max_size=4), max_size=4
                )
            }
        ),
    )

    def check(self, text: str) -> None:
        """Assert that the text gives a whole result or `ConfigError`, and nothing else."""
        try:
            configs = resolve(text, ("web1", "web2.example.com"))
        except ConfigError as error:
            self.assertNotEqual(str(error), "")
            return
        self.assertEqual([one.host for one in configs], ["web1", "web2.example.com"])
        for one in configs:
            if one.errors:
                self.assertIsNone(one.deployment)
        try:
            found = deployments(configs)
        except ConfigError:
            self.assertTrue(any(one.errors for one in configs))
            return
        self.assertEqual(len({one.location for one in found}), len(found))
        self.assertTrue(all(one.location.startswith("/") for one in found))

    @settings(derandomize=True, max_examples=300)
    @given(DOCUMENTS)
    def test_any_json(self, document: Any) -> None:
        """Any JSON gives a result or `ConfigError` (threat 57)."""
        self.check(json.dumps(document))

    @settings(derandomize=True, max_examples=200)
    @given(st.text(max_size=100))
    def test_any_text(self, text: str) -> None:
        """Any text gives a result or `ConfigError`."""
        self.check(text)

    @settings(derandomize=True, max_examples=200)
    @given(
        st.integers(0, len(EXAMPLE)), st.integers(0, 5), st.sampled_from(['"', "{", "}", "[", ""])
    )
    def test_a_broken_example(self, start: int, length: int, put: str) -> None:
        """The contract's example with a few characters changed gives a result or `ConfigError`."""
        self.check(EXAMPLE[:start] + put + EXAMPLE[start + length :])


class DigestTests(SynchronousTestCase):
    def test_what_differs(self) -> None:
        """Each key has a digest of its own, which says what differs and not how."""
        one = Deployment("web1", "/srv/site", "main", env={"A": "1", "TOKEN": "hidden"})
        same = Deployment("web2", "/srv/other", "dev", env={"TOKEN": "hidden", "A": "1"})
        self.assertEqual(digests(one), digests(same))
        self.assertEqual(set(digests(one)) | {"location", "branch"}, set(KEYS), "every key")
        other = Deployment("web1", "/srv/site", "main", script="x", timeout=5, env={"A": "2"})
        changed = {key for key, digest in digests(other).items() if digests(one)[key] != digest}
        self.assertEqual(changed, {"script", "timeout", "env"})
        self.assertNotIn("hidden", str(digests(one)))
