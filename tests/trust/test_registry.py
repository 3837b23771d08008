"""The registry of EHR clients: every problem is told at once, with its line; a good file is read back in words."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cds_service.cli.main import main
from cds_service.files.paths import fixtures_dir
from cds_service.outbound.base_urls import FhirBase
from cds_service.runtime import new_runtime
from cds_service.settings import SettingsError, load_settings
from cds_service.trust.caller import Endpoint
from cds_service.trust.client_fields import FIELDS
from cds_service.trust.key_sets import ALGORITHMS
from cds_service.trust.refusal import CallerRefusedError
from cds_service.trust.registered import RegisteredCallers
from cds_service.trust.registry import Client, RegistryError, load_registry, presets
from cds_service.trust.replay import Replay
from cds_service.trust.tokens import read_token
from tests.tokens import GOOD_SECRET, JKU, PUBLIC_URL, a_client, key_set, private_key, public_jwk, write_registry
from tests.trusting import Memory

EXAMPLE = fixtures_dir() / "clients.example.toml"


def one(folder: Path, **changes: Any) -> Client:
    [client] = load_registry(write_registry(folder, a_client(**changes)))
    return client


def problems(folder: Path, *clients: dict[str, Any]) -> list[str]:
    """What is said about the file, without its path."""
    path = write_registry(folder, *clients)
    with pytest.raises(RegistryError) as caught:
        load_registry(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def test_a_client_says_little_and_gets_the_defaults(tmp_path: Path) -> None:
    client = one(tmp_path, jwks=None, jku=JKU, fhir_bases=None)
    assert client == Client(name="ehr", iss="https://ehr.example/fhir", jku=JKU)
    assert (client.algorithms, client.max_life_s, client.fhir_bases, client.hooks) == (("ES384", "RS384"), 300, (), ())


def test_a_client_says_everything(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text(key_set(public_jwk("k9")))
    client = one(
        tmp_path,
        preset="epic",
        jwks=None,
        jwks_file="keys.json",
        jku=JKU,
        jku_private=True,
        algorithms=["ES384"],
        audiences=["urn:a", "https://cds.example/x"],
        max_life_s=3600,
        tenants=["A"],
        deadline_ms=500,
        supports_include=True,
        hooks=["order-sign"],
        origins=["https://ehr.example", "https://ehr.example:8443"],
        fhir_bases=["https://a.example/r4/", {"url": "https://10.1.2.3/r4", "private": True}],
    )
    assert client.pinned is not None
    assert [key.kid for key in client.pinned.keys] == ["k9"]
    assert client.fhir_bases == (FhirBase("https://a.example/r4"), FhirBase("https://10.1.2.3/r4", private=True))
    assert (client.preset, client.jku_private, client.max_life_s, client.deadline_ms) == ("epic", True, 3600, 500)
    assert client.supports_include
    assert one(tmp_path, fhir_bases="any").fhir_bases is None


def test_every_problem_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    path.write_text(
        """
[[client]]
name = "North Hospital"
iss = "https://north.example"
jku = "ftp://north.example"
algoritms = ["RS384"]
jwks = '''
[[client]]
name = "not one"
'''

[[client]]
iss = 5
origins = [
    "https://ok.example",
    "*",
]
max_life_s = 7200
[[client.fhir_bases]]
url = "https://u:p@ehr.example"
""",
        encoding="utf-8",
    )
    with pytest.raises(RegistryError) as caught:
        load_registry(path)
    assert str(caught.value).splitlines() == [
        f'{path}:3: client "North Hospital": name: must be lower-case letters, digits, `.`, `_` and `-`, at most 63',
        f'{path}:5: client "North Hospital": jku: must be an http or https URL',
        f'{path}:6: client "North Hospital": algoritms: unknown key `algoritms`; did you mean `algorithms`?',
        f'{path}:7: client "North Hospital": jwks: is not a JWK Set: Expecting value: line 1 column 3 (char 2)',
        f"{path}:12: client 2: name: missing: what logs and metrics call this client",
        f"{path}:12: client 2: has no keys: give `jku` (where they are published), or `jwks` or `jwks_file` (the keys "
        "themselves)",
        f"{path}:13: client 2: iss: must be the `iss` of its tokens, exactly",
        f'{path}:14: client 2: origins: must be a list of origins such as "https://ehr.example", without a path; `*` is not '
        "possible",
        f"{path}:18: client 2: max_life_s: must be a whole number from 1 to 3600",
        f"{path}:19: client 2: fhir_bases: must hold no user name, fragment, backslash or space",
    ]


UNUSABLE: dict[str, list[Any]] = {
    "name": ["", "Upper", "a b", "-a", "a" * 64, 5, ["a"], "anonymous", "a|b"],
    "preset": ["meditech", "", 5, ["epic"]],
    "iss": ["", " x", "x ", "a\nb", 5, [], "x" * 513],
    "jku": [
        *("", "ehr.example", "file:///etc/passwd", "https://", "https://u@ehr.example/k", 5, "https://ehr.example/k#x"),
        *("https://ehr.example/a/../k", "https://ehr.example:99999/", "https://ehr\u00e9.example", "https://[::1/k"),
        *("https://ehr.example/%2e%2e/k", "//x/y", "https://ehr.example\\k"),
    ],
    "jku_private": [1, "yes", []],
    "jwks": [5, "", "{}", '{"keys": []}', "https://ehr.example/jwks.json"],
    "algorithms": [[], "ES384", ["none"], ["HS256"], ["ES384", "ES384"], [5], ["ES256K"], ["es384"]],
    "audiences": [[], "x", [5], [""], ["a", "a"]],
    "max_life_s": [0, -1, 3601, "300", True, 1.5],
    "tenants": [[], "A", [5], [""], ["A", "A"], [" A"]],
    "hooks": [[], "order-sign", ["order-review"], [5]],
    "deadline_ms": [0, 199, 60_001, "1000"],
    "supports_include": [1, "yes", []],
    "fhir_bases": [
        *("all", [5], [{"private": True}], [{"url": "https://a.example", "x": 1}], ["ftp://a"]),
        *([{"url": "https://a.example", "private": 1}], ["https://a.example?x=1"]),
        *([f"https://{host}/r4"] for host in ("127.0.0.1", "10.0.0.1", "[::1]", "localhost", "ehr", "ehr.internal")),
    ],
    "origins": [[], ["*"], ["null"], ["https://a.example/"], ["https://A.example"], ["https://a.example:443"], ["a.example"]],
    "colour": ["blue"],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in UNUSABLE.items() for value in values])
def test_a_value_that_can_not_be_used_is_told_with_its_key_and_line(tmp_path: Path, key: str, value: Any) -> None:
    entry = a_client() | {key: value}
    line = 2 + list(entry).index(key)
    assert any(told.startswith(f"{line}: client ") and f": {key}: " in told for told in problems(tmp_path, entry))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": None}, "name: missing"),
        ({"iss": None}, "iss: missing"),
        ({"jwks": None}, "has no keys"),
        ({"jwks_file": "x.json"}, "give either `jwks` or `jwks_file`"),
        ({"jwks": None, "jwks_file": "missing.json"}, "jwks_file: can't be read: No such file"),
        ({"algorithms": ["RS384"]}, "algorithms: no key fits any of the client's `algorithms`"),
        ({"jwks": key_set(public_jwk("k1", "RS256")), "algorithms": ["ES384"]}, "no key fits"),
        ({"jwks": key_set(public_jwk(use="enc"))}, "jwks: key 1 is not for signatures"),
        ({"jwks": key_set(public_jwk(), public_jwk())}, "key 2 has the `kid` of another"),
        ({"jwks": key_set(private_key().as_dict(private=True) | {"kid": "k1"})}, "holds a private or secret key"),
    ],
)
def test_keys_that_can_not_work_are_told(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    assert any(told in line for line in problems(tmp_path, a_client(**changes)))


def test_clients_are_told_apart_by_name_and_by_issuer_and_tenant(tmp_path: Path) -> None:
    assert problems(tmp_path, a_client(), a_client("ehr", iss="https://b.example"))[0].endswith(
        "is the name of a client before it"
    )
    shared = problems(tmp_path, a_client("a"), a_client("b", tenants=["B"]))
    assert [line.split(": ")[1:3] for line in shared] == [['client "a"', "iss"], ['client "b"', "iss"]]
    [taken] = problems(tmp_path, a_client("a", tenants=["A", "B"]), a_client("b", tenants=["B"]))
    assert '"B" is a tenant of "a" already' in taken
    assert len(load_registry(write_registry(tmp_path, a_client("a", tenants=["A"]), a_client("b", tenants=["B"])))) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[client]\n", ":1: this is no TOML file"),
        ('[[client]]\nname = "a"\nname = "b"\n', ":3: this is no TOML file: Cannot overwrite a value"),
        ('# ours\n[[client]]\nname = "a', ":3: this is no TOML file"),
        ("[[client]]\nmax_life_s = " + "9" * 5000, ":2: this is no TOML file"),
        ("[client]\nname = 'a'\n", ":1: a registry holds `[[client]]` tables and nothing else; write `[[client]]`, in double"),
        ("# ours\n\n[[clients]]\n", ":3: a registry holds `[[client]]` tables and nothing else; unknown: `clients`; did you"),
        ("# iss\niss = 'x'\n[[client]]\n", ":2: a registry holds"),
        ("client = 5\n", "write `[[client]]`, in double brackets"),
    ],
)
def test_a_file_of_another_shape_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "clients.toml"
    path.write_text(text)
    with pytest.raises(RegistryError) as caught:
        load_registry(path)
    assert told in str(caught.value)


def test_a_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    path = tmp_path / "clients.toml"
    path.write_bytes(b'[[client]]\nname = "\xff"\n')
    with pytest.raises(RegistryError, match=r":2: this is no TOML file: it is not UTF-8"):
        load_registry(path)


# Presets and the example


@pytest.mark.parametrize("name", ["epic", "oracle", "sandbox"])
def test_presets_say_where_they_were_read_and_what_is_sent(name: str) -> None:
    preset = presets()[name]
    assert {"title", "source", "sends"} <= preset.keys() <= {"title", "source", "sends", *FIELDS}
    assert preset["source"].startswith("https://")


def test_presets_fill_in_what_a_client_does_not_say(tmp_path: Path) -> None:
    epic = one(tmp_path, preset="epic", jwks=None, jku=JKU)
    assert (epic.preset, epic.algorithms, epic.max_life_s) == ("epic", ("RS384",), 900)
    oracle = one(tmp_path, preset="oracle", iss=None, jwks=None, tenants=["T"])
    assert (oracle.iss, oracle.jku, oracle.hooks) == (
        "https://cds-hooks.cerner.com",
        "https://authorization.cerner.com/jwk",
        ("patient-view",),
    )
    sandbox = one(tmp_path, preset="sandbox", iss=None, jwks=None)
    assert sandbox.iss == "https://sandbox.cds-hooks.org"
    assert sandbox.pinned is not None
    assert [key.kid for key in sandbox.pinned.keys] == ["44823f3d-0b01-4a6c-a80e-b9d3e8a7226f"]
    assert one(tmp_path, preset="epic", jwks=None, jku=JKU, max_life_s=60, algorithms=["ES384"]).max_life_s == 60
    (tmp_path / "mine.json").write_text(key_set())
    mine = one(tmp_path, preset="sandbox", jwks=None, jwks_file="mine.json")
    assert mine.pinned is not None
    assert [key.kid for key in mine.pinned.keys] == ["k1"]


def test_the_example_is_good_and_explains_every_key() -> None:
    assert [client.name for client in load_registry(EXAMPLE)] == ["north-hospital", "south-clinic", "west-practice"]
    text = EXAMPLE.read_text(encoding="utf-8")
    assert [key for key in FIELDS if key not in text] == []
    assert all(name in text for name in (*presets(), *ALGORITHMS))


# The command

Captured = pytest.CaptureFixture[str]


def test_check_explains_every_problem_and_fails(tmp_path: Path, capsys: Captured) -> None:
    path = write_registry(tmp_path, a_client(jku="x", max_life_s=0))
    assert main(["clients", "check", str(path)]) == 1
    told = capsys.readouterr()
    assert (told.out, len(told.err.splitlines())) == ("", 2)


def test_check_says_in_words_what_a_good_file_says(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDS_CLIENTS_FILE", str(EXAMPLE))
    monkeypatch.setenv("CDS_PUBLIC_URL", "https://cds.example")
    assert main(["clients", "check"]) == 0
    told = capsys.readouterr().out
    for words in ("at most 900 s", "the URLs under https://cds.example", "RS384", "(private)", "example-2026 (P-384)"):
        assert words in told
    assert "production will not start" not in told
    assert told.endswith(f"3 clients in {EXAMPLE}\n")


def test_check_says_what_production_would_refuse(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CDS_PUBLIC_URL", "https://cds.example")
    path = write_registry(tmp_path, {"name": "box", "preset": "sandbox"}, a_client(fhir_bases=["http://ehr.example"]))
    assert main(["clients", "check", str(path)]) == 0
    told = capsys.readouterr().out
    assert 'production will not start: client "box": is the public sandbox' in told
    assert 'production will not start: client "ehr": fhir_bases must be an https URL' in told


def test_check_needs_a_file(capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CDS_CLIENTS_FILE", raising=False)
    assert main(["clients", "check"]) == 2
    assert main(["clients", "check", str(tmp_path / "none.toml")]) == 1
    assert "none.toml: No such file" in capsys.readouterr().err


def test_jwks_of_the_sandbox_is_its_published_key() -> None:
    [key] = json.loads(presets()["sandbox"]["jwks"])["keys"]
    assert "d" not in key


def same_as_serve(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[bool, bool]:
    """Whether `clients check` and the service refuse these settings."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    try:
        new_runtime(load_settings())
    except SettingsError:
        refused = True
    else:
        refused = False
    return main(["clients", "check"]) == 1, refused


ONE_BASE: dict[str, Any] = {"fhir_bases": ["https://ehr.example/fhir"]}


@pytest.mark.parametrize(
    ("client", "settings", "refused"),
    [
        (a_client(**ONE_BASE), {}, False),
        (a_client(**ONE_BASE), {"CDS_PUBLIC_URL": ""}, True),
        (a_client(audiences=["https://cds.example/x"], **ONE_BASE), {"CDS_PUBLIC_URL": ""}, False),
        (a_client(fhir_bases=["http://ehr.example/fhir"]), {}, False),
        (None, {}, True),
        (a_client(**ONE_BASE), {"CDS_PROFILE": "production"}, False),
        (a_client(**ONE_BASE), {"CDS_PROFILE": "production", "CDS_HASH_SECRET": "x" * 32}, True),
        (a_client(**ONE_BASE), {"CDS_PROFILE": "production", "CDS_PUBLIC_URL": "http://cds.example"}, True),
        (a_client(fhir_bases=["http://ehr.example/fhir"]), {"CDS_PROFILE": "production"}, True),
        ({"name": "box", "preset": "sandbox"}, {"CDS_PROFILE": "production"}, True),
    ],
)
def test_check_refuses_what_the_service_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: dict[str, Any] | None, settings: dict[str, str], refused: bool
) -> None:
    path = write_registry(tmp_path, client) if client else tmp_path / "none.toml"
    path.touch()
    usual = {
        "CDS_CLIENTS_FILE": str(path),
        "CDS_LOG_PATH": str(tmp_path / "alerts.sqlite3"),
        "CDS_PUBLIC_URL": "https://cds.example",
        "CDS_HASH_SECRET": GOOD_SECRET,
    }
    assert same_as_serve(usual | settings, monkeypatch) == (refused, refused)


# Keys and tokens to test with


def registered_key(folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, *options: str, **changes: Any) -> Path:
    """The private key of a client whose registration `clients new-key` has printed."""
    key = folder / "test.jwk"
    assert main(["clients", "new-key", str(key), *options]) == 0
    printed = tomllib.loads(capsys.readouterr().out)
    monkeypatch.setenv("CDS_CLIENTS_FILE", str(write_registry(folder, a_client(**printed, **changes))))
    monkeypatch.setenv("CDS_PUBLIC_URL", PUBLIC_URL)
    return key


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
async def test_a_key_and_a_token_that_were_made_here_are_accepted_at_the_endpoint_they_are_for(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    key = registered_key(tmp_path, capsys, monkeypatch, "--alg", algorithm)
    assert key.stat().st_mode & 0o777 == 0o600
    assert main(["clients", "token", "ehr", "--key", str(key), "--for", "cramps-order-sign"]) == 0
    token = capsys.readouterr().out.strip()
    issued = read_token(token).issued
    client = load_registry(load_settings().clients_file or Path())[0]
    known = RegisteredCallers([client], load_settings(), Replay(Memory(), lambda: issued, lambda: 0.0), now=lambda: issued)
    headers = [(b"authorization", f"Bearer {token}".encode())]
    with pytest.raises(CallerRefusedError, match="audience"):
        await known.identify(headers, Endpoint("/cramps-order-sign/feedback"))
    assert (await known.identify(headers, Endpoint("/cramps-order-sign"))).client == "ehr"


@pytest.mark.parametrize(
    ("changes", "options", "told"),
    [
        ({"tenants": ["a", "b"]}, (), "--tenant must be one of a, b"),
        ({}, ("--tenant", "a"), "--tenant must be one of none"),
        ({}, ("--kid", "another"), "is not registered"),
    ],
)
def test_a_token_that_the_service_would_refuse_is_not_made(
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    options: tuple[str, ...],
    told: str,
) -> None:
    key = registered_key(tmp_path, capsys, monkeypatch, **changes)
    assert main(["clients", "token", "ehr", "--key", str(key), *options]) == 1
    assert told in capsys.readouterr().err


def test_a_key_is_never_overwritten_and_an_unknown_client_is_named(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = registered_key(tmp_path, capsys, monkeypatch)
    before = key.read_bytes()
    assert main(["clients", "new-key", str(key)]) == 1
    assert key.read_bytes() == before
    assert main(["clients", "token", "nobody", "--key", str(key)]) == 1
    assert 'no client "nobody"' in capsys.readouterr().err
    monkeypatch.setenv("CDS_PUBLIC_URL", "")
    assert main(["clients", "token", "ehr", "--key", str(key)]) == 1
    assert "CDS_PUBLIC_URL is needed" in capsys.readouterr().err
