"""The proofs by themselves, against vectors that others published."""

from __future__ import annotations

import ast
import base64
import hashlib
import hmac
import inspect

from twisted.trial.unittest import SynchronousTestCase

from integralgit.hooks import signatures
from integralgit.hooks.delivery import Incoming
from integralgit.hooks.signatures import (
    TOLERANCE,
    basic_password,
    hub_sha256,
    same,
    standard_webhooks,
    standard_webhooks_key,
)

# <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>
GITHUB_SECRET = b"It's a Secret to Everybody"
GITHUB_BODY = b"Hello, World!"
GITHUB_SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

# <https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/>, "Examples"
BITBUCKET_BODY = b"Hello World!"
BITBUCKET_SIGNATURE = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"

# <https://github.com/adnanh/webhook>, internal/hook/hook_test.go (MIT)
ADNANH_SECRET = b"secret"
ADNANH_SIGNATURES = {
    b'{"a": "z"}': "sha256=f417af3a21bd70379b5796d5f013915e7029f62c580fb0f500f59a35a6f04c89",
    b"": "sha256=f9e66e179b6747ae54108f82f8ade8b3c25d76fd30afde6c395822c530196169",
}
ADNANH_SHA1 = "sha1=b17e04cbb22afa8ffbff8796fc1894ed27badd9e"

# <https://github.com/standard-webhooks/standard-webhooks>, libraries/python/tests (MIT)
STANDARD_SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STANDARD_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
STANDARD_AT = 1614265330
STANDARD_BODY = b'{"test": 2432232314}'
STANDARD_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
STANDARD_OTHER = "Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="


def standard(
    signature: str = STANDARD_SIGNATURE,
    *,
    sent_id: str = STANDARD_ID,
    sent_at: str = str(STANDARD_AT),
    body: bytes = STANDARD_BODY,
    at: float = STANDARD_AT,
) -> Incoming:
    """The published delivery, with changes."""
    headers = {
        "webhook-id": [sent_id],
        "webhook-timestamp": [sent_at],
        "webhook-signature": [signature],
    }
    return Incoming(headers, body, at)


def without(incoming: Incoming, name: str) -> Incoming:
    """The same without that header."""
    headers = {header: values for header, values in incoming.headers.items() if header != name}
    return Incoming(headers, incoming.body, incoming.at)


def basic(credentials: bytes, scheme: str = "Basic ") -> Incoming:
    """A request with basic authentication."""
    return Incoming({"authorization": [scheme + base64.b64encode(credentials).decode()]}, b"")


class HubTests(SynchronousTestCase):
    def test_published_vectors(self) -> None:
        """The signatures that GitHub, Bitbucket and adnanh/webhook published are right."""
        self.assertTrue(hub_sha256(GITHUB_SIGNATURE, GITHUB_BODY, GITHUB_SECRET))
        self.assertTrue(hub_sha256(BITBUCKET_SIGNATURE, BITBUCKET_BODY, GITHUB_SECRET))
        for body, signature in ADNANH_SIGNATURES.items():
            self.assertTrue(hub_sha256(signature, body, ADNANH_SECRET))

    def test_another_body_or_secret(self) -> None:
        """A signature holds for its own body and secret only."""
        self.assertFalse(hub_sha256(GITHUB_SIGNATURE, BITBUCKET_BODY, GITHUB_SECRET))
        self.assertFalse(hub_sha256(GITHUB_SIGNATURE, GITHUB_BODY, GITHUB_SECRET + b" "))

    def test_everything_that_is_not_the_signature(self) -> None:
        """Nothing but the very text with its prefix counts, whatever its length or alphabet."""
        digest = GITHUB_SIGNATURE.removeprefix("sha256=")
        for given in (
            "",
            "sha256=",
            digest,
            "sha1=" + digest,
            "sha512=" + digest,
            GITHUB_SIGNATURE[:-1],
            GITHUB_SIGNATURE + "0",
            GITHUB_SIGNATURE + ",sha256=00",
            "sha256=00," + GITHUB_SIGNATURE,
            GITHUB_SIGNATURE.replace("7", "x"),
            "sha256=" + "é" * 64,
            "sha256=\ud800",
            "sha256=" + "0" * 64,
        ):
            self.assertFalse(hub_sha256(given, GITHUB_BODY, GITHUB_SECRET), ascii(given))

    def test_sha1_does_not_count(self) -> None:
        """A right SHA-1 signature proves nothing."""
        self.assertFalse(hub_sha256(ADNANH_SHA1, b'{"a": "z"}', ADNANH_SECRET))

    def test_same_is_about_the_whole_text(self) -> None:
        """Two texts are the same only as a whole, and text that is not UTF-8 is just different."""
        self.assertTrue(same("abc", "abc"))
        for given in ("", "ab", "abcd", "ABC", "\ud800", "é"):
            self.assertFalse(same(given, "abc"), ascii(given))


class ConstantTimeTests(SynchronousTestCase):
    def test_nothing_secret_is_compared_otherwise(self) -> None:
        """What was given meets what is wanted in `hmac.compare_digest` only (threat 6)."""
        secret = {"given", "wanted", "password", "digest", "credentials", "body", "signed"}
        compared = [
            ast.unparse(node)
            for node in ast.walk(ast.parse(inspect.getsource(signatures)))
            if isinstance(node, ast.Compare)
            and secret & {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
        ]
        self.assertEqual(compared, ["len(given) <= 10"])


class BasicTests(SynchronousTestCase):
    def test_the_password_is_the_secret(self) -> None:
        """The password counts, whatever the user is called; colons may stand in it."""
        self.assertTrue(basic_password(basic(b"ann:secret"), b"secret"))
        self.assertTrue(basic_password(basic(b":secret"), b"secret"))
        self.assertTrue(basic_password(basic(b"ann:se:cr:et"), b"se:cr:et"))
        self.assertTrue(basic_password(basic("ann:gehëim".encode()), "gehëim".encode()))

    def test_the_scheme_in_any_case(self) -> None:
        """The scheme's case does not matter (RFC 9110, 11.1)."""
        self.assertTrue(basic_password(basic(b"ann:secret", "bAsIc "), b"secret"))

    def test_anything_else(self) -> None:
        """No, half, broken and doubled credentials prove nothing."""
        right = basic(b"ann:secret").headers["authorization"][0]
        for values in (
            [],
            [""],
            ["Basic"],
            ["Basic "],
            ["Basic :"],
            ["Basic secret"],
            ["Basic ann:secret"],
            ["Basic é"],
            ["Basic \ud800"],
            [right.replace("Basic", "Bearer")],
            [right.removeprefix("Basic ")],
            [right + "!"],
            [right, right],
            ["Bearer secret"],
        ):
            incoming = Incoming({"authorization": values}, b"")
            self.assertFalse(basic_password(incoming, b"secret"), ascii(values))
        for credentials in (b"secret", b"ann:secre", b"ann:secrets", b"ann:", b"", b"secret:ann"):
            self.assertFalse(basic_password(basic(credentials), b"secret"), credentials)
        self.assertFalse(basic_password(Incoming({}, b""), b"secret"))


class StandardWebhooksTests(SynchronousTestCase):
    def test_published_vector(self) -> None:
        """The delivery that the reference libraries test with is proved."""
        self.assertTrue(standard_webhooks(standard(), STANDARD_SECRET))

    def test_several_signatures(self) -> None:
        """One right signature of version 1 among several is enough."""
        given = f"v1,{STANDARD_OTHER} v2,{STANDARD_OTHER} {STANDARD_SIGNATURE}"
        self.assertTrue(standard_webhooks(standard(given), STANDARD_SECRET))

    def test_too_many_signatures(self) -> None:
        """More than ten signatures are refused, the right one among them or not (threat 5)."""
        others = [f"v1,{STANDARD_OTHER}"] * 9
        nine = standard(" ".join([*others, STANDARD_SIGNATURE]))
        self.assertTrue(standard_webhooks(nine, STANDARD_SECRET))
        eleven = standard(" ".join([*others, STANDARD_SIGNATURE, STANDARD_SIGNATURE]))
        self.assertFalse(standard_webhooks(eleven, STANDARD_SECRET))

    def test_wrong_signatures(self) -> None:
        """A signature that is cut, changed, of another version or no signature proves nothing."""
        digest = STANDARD_SIGNATURE.removeprefix("v1,")
        for given in (
            "",
            " ",
            "v1",
            "v1,",
            "v1,abc",
            digest,
            "v2," + digest,
            "v1a," + digest,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA=",
            STANDARD_SIGNATURE[:-1],
            STANDARD_SIGNATURE + "=",
            STANDARD_SIGNATURE.replace("v1,", "v1, "),
            "v1,é",
        ):
            self.assertFalse(standard_webhooks(standard(given), STANDARD_SECRET), given)

    def test_every_header_is_needed(self) -> None:
        """Without id, time or signature there is no proof."""
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
            self.assertFalse(standard_webhooks(without(standard(), name), STANDARD_SECRET), name)

    def test_everything_signed_counts(self) -> None:
        """Another id, time or body breaks the proof."""
        for changed in (
            standard(sent_id="msg_other"),
            standard(sent_at=str(STANDARD_AT + 1)),
            standard(body=STANDARD_BODY + b" "),
        ):
            self.assertFalse(standard_webhooks(changed, STANDARD_SECRET))

    def test_five_minutes_either_way(self) -> None:
        """A delivery counts up to five minutes before and after its time, and no longer."""
        for off, wanted in ((-TOLERANCE, True), (TOLERANCE, True), (-301, False), (301, False)):
            proved = standard_webhooks(standard(at=STANDARD_AT + off), STANDARD_SECRET)
            self.assertEqual(proved, wanted, off)

    def test_only_digits_are_a_time(self) -> None:
        """A time that a lenient reader would take for a number is refused, though signed (threat 8)."""
        for sent_at, at in (
            ("nan", STANDARD_AT),
            ("inf", STANDARD_AT),
            ("", 0),
            ("1e3", 1000),
            ("-5", 0),
            ("+5", 5),
            (" 5", 5),
            ("1_0", 10),
            ("5.0", 5),
            ("١٢", 12),
            ("9" * 400, STANDARD_AT),
        ):
            signed = f"{STANDARD_ID}.{sent_at}.".encode() + STANDARD_BODY
            key = standard_webhooks_key(STANDARD_SECRET)
            digest = hmac.digest(key, signed, hashlib.sha256)
            given = "v1," + base64.b64encode(digest).decode()
            incoming = standard(given, sent_at=sent_at, at=at)
            self.assertFalse(standard_webhooks(incoming, STANDARD_SECRET), sent_at)

    def test_key(self) -> None:
        """`whsec_` announces base64, with or without padding; any other text is the key itself."""
        raw = bytes(range(32))
        encoded = base64.b64encode(raw)
        self.assertEqual(standard_webhooks_key(b"whsec_" + encoded), raw)
        self.assertEqual(standard_webhooks_key(b"whsec_" + encoded.rstrip(b"=")), raw)
        self.assertEqual(standard_webhooks_key(b"plain"), b"plain")
        self.assertEqual(standard_webhooks_key(encoded), encoded)
