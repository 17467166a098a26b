"""What we ask GitHub is what its own OpenAPI description says can be asked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from unittest import SkipTest, TestCase
from urllib.parse import parse_qs, unquote

from attrs import evolve
from jsonschema.exceptions import ValidationError
from openapi_schema_validator import OAS30Validator
from referencing import Registry
from referencing.jsonschema import DRAFT4

from integralgit.journal.events import State
from integralgit.report import github
from integralgit.report.statuses import Request, Shipment, Status

#: GitHub's description as its own package, and the parts that we hold ourselves to.
PACKAGE = "@octokit/openapi@23.0.2"
DESCRIPTIONS = ("api.github.com", "ghes-3.17")

URL = "https://deploy.example.com/github.com/acme/site/deploys/7"
STATUS = Status("acme/site", "c" * 40, "integralgit/web1", State.QUEUED, "It waits " * 50, URL)
SHIPMENT = Shipment("acme/site", "c" * 40, "web1", State.QUEUED, "It waits " * 50, URL)


def fetch(folder: Path) -> Path:
    """The folder of the descriptions, fetched by npm; raises `SkipTest` where that cannot be."""
    npm = shutil.which("npm")
    if npm is None:
        raise SkipTest("npm is not there")
    try:
        done = subprocess.run(
            [npm, "pack", "--silent", "--pack-destination", str(folder), PACKAGE],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise SkipTest(f"npm could not fetch {PACKAGE}: {type(error).__name__}") from None
    with tarfile.open(folder / done.stdout.split()[-1]) as archive:
        for name in DESCRIPTIONS:
            archive.extract(f"package/generated/{name}.json", folder, filter="data")
    return folder / "package" / "generated"


@cache
def descriptions() -> dict[str, Any]:
    """The descriptions by their names."""
    with tempfile.TemporaryDirectory() as folder:
        generated = fetch(Path(folder))
        return {name: json.loads((generated / f"{name}.json").read_text()) for name in DESCRIPTIONS}


class GitHub(TestCase):
    """Every request, against the description of github.com and of the oldest Enterprise Server."""

    def setUp(self) -> None:
        self.descriptions = descriptions()

    def resolve(self, description: Any, part: Any) -> Any:
        """A part of a description, or what it refers to."""
        while "$ref" in part:
            found = description
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            part = found
        return part

    def operation(self, description: Any, request: Request) -> tuple[Any, dict[str, str]]:
        """What the description says of a request's method and path, and the path's parameters."""
        path = request.path.partition("?")[0]
        for template, operations in description["paths"].items():
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template))
            found = re.fullmatch(pattern, path)
            if found and request.method.lower() in operations and template.count("/") < 9:
                return operations[request.method.lower()], found.groupdict()
        raise AssertionError(f"GitHub knows no {request.method} {path}")

    def validate(self, description: Any, schema: Any, value: Any) -> None:
        """Raise where a value is not what a schema of the description says."""
        resource = DRAFT4.create_resource(description)
        registry: Any = Registry().with_resource("", resource)
        OAS30Validator(schema, registry=registry).validate(value)

    def check(self, request: Request) -> None:
        """Path, query and body of a request are as each description says."""
        for description in self.descriptions.values():
            operation, in_path = self.operation(description, request)
            query = parse_qs(request.path.partition("?")[2], strict_parsing="?" in request.path)
            given = {"path": in_path, "query": {name: values[0] for name, values in query.items()}}
            known = [self.resolve(description, one) for one in operation["parameters"]]
            for place, values in given.items():
                schemas = {one["name"]: one["schema"] for one in known if one["in"] == place}
                self.assertLessEqual(set(values), set(schemas), request.path)
                for name, text in values.items():
                    schema = self.resolve(description, schemas[name])
                    is_number = schema.get("type") == "integer"
                    self.validate(description, schema, int(text) if is_number else unquote(text))
            if request.body is not None:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                self.validate(description, schema, request.body)
                self.assertLessEqual(set(request.body), set(schema["properties"]))

    def answered(self, request: Request, fields: set[str]) -> None:
        """What we read of the answer's list is in the description of its entries."""
        for description in self.descriptions.values():
            operation, _ = self.operation(description, request)
            schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
            entry = self.resolve(description, self.resolve(description, schema)["items"])
            self.assertLessEqual(fields, set(entry["properties"]))

    def test_statuses(self) -> None:
        """A status in every state, and the list that is asked for in doubt."""
        for state in State:
            self.check(github.tell(evolve(STATUS, state=state)))
        self.check(github.look(STATUS))
        self.answered(github.look(STATUS), {"state", "target_url", "description", "context"})

    def test_deployments(self) -> None:
        """A deployment, its status in every state, and the lists that are asked for in doubt."""
        self.check(github.create_deployment(SHIPMENT))
        self.check(github.find_deployment(SHIPMENT))
        self.answered(github.find_deployment(SHIPMENT), {"id", "payload"})
        for state in State:
            self.check(github.tell_deployment(evolve(SHIPMENT, state=state), "5"))
        self.check(github.look_at_deployment(SHIPMENT, "5"))
        asked = github.look_at_deployment(SHIPMENT, "5")
        self.answered(asked, {"state", "log_url", "description"})

    def test_it_would_be_seen(self) -> None:
        """A wrong state, an unknown field and an unknown path are found."""
        good = github.tell(STATUS)
        assert good.body is not None
        for wrong in (
            evolve(good, body={**good.body, "state": "done"}),
            evolve(good, body={**good.body, "link": URL}),
            evolve(good, path="/repos/acme/site/status/x"),
        ):
            with self.assertRaises((ValidationError, AssertionError), msg=str(wrong)):
                self.check(wrong)
