"""`cds-service doctor`: a service that is well, and each way in which one can be ill."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from cds_service.cli.main import main
from cds_service.clock import utc_now
from cds_service.doctor.address import address, certificate
from cds_service.doctor.command import TOKEN_VARIABLE
from cds_service.doctor.fhir import examine_fhir
from cds_service.doctor.finding import Finding, failed
from cds_service.doctor.service import Checkup, Target, base_of
from cds_service.doctor.token import KeyFileError, Signer, load_signer
from tests.bench.server import Server, free_port, service_command
from tests.core import knowledge
from tests.ehr_server import BASE, EhrServer, patient
from tests.tokens import ISS, a_client, key_set, write_registry

URL = "https://cds.example"
ORIGIN = "https://page.example"
KEY = ECKey.generate_key("P-384", {"kid": "key-1"}, private=True)
SIGNER = Signer(KEY, "https://ehr.example", "key-1", "ES384")
PREFETCH = {"patient": "Patient/{{context.patientId}}", "labs": "Observation?patient={{context.patientId}}&code=1,2"}
SERVICES = [
    {"id": f"cramps-{hook}", "hook": hook, "description": "d", "prefetch": PREFETCH}
    for hook in ("patient-view", "order-select", "order-sign")
]
Answer = Callable[[httpx2.Request], httpx2.Response | None]


class Service:
    """A service that is well; `ill` answers in its place where it returns something."""

    def __init__(self, ill: Answer | None = None, *, key: ECKey | None = None) -> None:
        self.ill = ill
        self.key = key
        self.public_url = "http://127.0.0.1:9"
        self.seen: list[httpx2.Request] = []
        self.tokens: list[Any] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.seen.append(request)
        answer = self.ill(request) if self.ill is not None else None
        answer = answer or self._answer(request)
        answer.headers.setdefault("date", format_datetime(utc_now(), usegmt=True))
        return answer

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        cors = {"access-control-allow-origin": ORIGIN, "access-control-allow-headers": "Authorization, Content-Type"}
        if request.method == "OPTIONS":
            return httpx2.Response(204, headers=cors)
        if path == "/health":
            return httpx2.Response(200, json={"status": "ok"})
        if path == "/health/ready":
            return httpx2.Response(404)
        if self.key is not None:
            if "authorization" not in request.headers:
                return httpx2.Response(401)
            token = jwt.decode(request.headers["authorization"].removeprefix("Bearer "), self.key, ["ES384"])
            self.tokens.append(token)
            assert token.claims["aud"] == str(request.url).replace("http://127.0.0.1:9", self.public_url)
        if path == "/cds-services":
            return httpx2.Response(200, headers=cors, json={"services": SERVICES})
        if path.endswith("/feedback"):
            return httpx2.Response(200, json={"received": 1})
        assert json.loads(request.content)["hook"] in path
        return httpx2.Response(200, json={"cards": []})


def examined(service: Service, **changes: Any) -> list[Finding]:
    target = Target(url="http://127.0.0.1:9", calls=3, **changes)
    with httpx2.Client(transport=httpx2.MockTransport(service)) as http:
        return list(Checkup(target, http, ssl.create_default_context()).findings())


def one(findings: list[Finding], check: str) -> Finding:
    (found,) = [finding for finding in findings if finding.check == check]
    return found


def ill(path: str, answer: httpx2.Response, method: str = "") -> Service:
    return Service(lambda request: answer if request.url.path == path and method in ("", request.method) else None)


# A service that is well


def test_a_service_that_is_well_is_found_well() -> None:
    service = Service(key=KEY)
    findings = examined(service, signer=SIGNER, origin=ORIGIN)
    assert [finding for finding in findings if finding.level != "ok"] == []
    assert one(findings, "signed call, order-sign").found == "status 200, cards: 0"
    assert one(findings, "unsigned call").found == "refused with 401"
    assert one(findings, "latency").found.startswith("median of 3 calls ")


def test_tokens_are_those_of_an_ehr_and_each_is_used_once() -> None:
    service = Service(key=KEY)
    examined(service, signer=SIGNER)
    ids = [token.claims["jti"] for token in service.tokens]
    assert len(set(ids)) == len(ids) >= 8
    for token in service.tokens:
        assert token.header == {"alg": "ES384", "typ": "JWT", "kid": "key-1"}
        assert token.claims["iss"] == "https://ehr.example"
        assert token.claims["exp"] - token.claims["iat"] == 300


def test_a_site_can_fix_the_audience_and_name_the_keys() -> None:
    signer = Signer(KEY, "i", "k", "ES384", aud="https://fixed.example", jku="https://ehr.example/jwks")
    token = jwt.decode(signer.token("https://other.example"), KEY, ["ES384"])
    assert (token.claims["aud"], token.header["jku"]) == ("https://fixed.example", "https://ehr.example/jwks")


def test_no_finding_and_no_repr_holds_a_token() -> None:
    service = Service(key=KEY)
    findings = examined(service, signer=SIGNER, origin=ORIGIN)
    shown = msgspec.json.encode(findings).decode() + repr(SIGNER) + repr(Target(url=URL, signer=SIGNER))
    assert "ey" not in shown.replace("key", "").replace("they", "")
    assert str(KEY.as_dict(private=True)["d"]) not in shown


@pytest.mark.parametrize("url", [URL, f"{URL}/", f"{URL}/cds-services", f"{URL}/cds-services/"])
def test_the_address_may_be_the_base_or_that_of_discovery(url: str) -> None:
    assert base_of(url) == URL


# Ways to be ill


def test_plain_http_is_told_unless_it_is_this_machine() -> None:
    assert [finding.level for finding in address("http://cds.example", "")] == ["FAIL"]
    assert [finding.level for finding in address("http://192.0.2.7:8000", "")] == ["FAIL"]
    for here in ("http://127.0.0.1:8000", "http://localhost", "http://[::1]:1", URL):
        assert [finding.level for finding in address(here, "")] == ["ok"]


def test_a_public_url_that_is_another_address_is_told() -> None:
    assert [finding.level for finding in address(URL, f"{URL}/")] == ["ok", "ok"]
    assert [finding.level for finding in address(URL, "https://other.example")] == ["ok", "warning"]


def test_tokens_are_made_for_the_public_url() -> None:
    service = Service(key=KEY)
    service.public_url = "https://cds.example/cramps"
    findings = examined(service, signer=SIGNER, public_url="https://cds.example/cramps/")
    assert [finding.check for finding in findings if finding.level != "ok"] == ["public URL"]
    assert one(findings, "signed call, order-sign").level == "ok"


def test_a_service_whose_health_is_on_another_port_is_asked_whether_it_is_ready() -> None:
    def inside(status: int) -> Service:
        answers = {"/health": httpx2.Response(404), "/health/ready": httpx2.Response(status, json={"status": "ready"})}
        return Service(lambda request: answers.get(request.url.path))

    assert one(examined(inside(200)), "health").level == "ok"
    assert one(examined(inside(503)), "health").level == "warning"


def far(seconds: float) -> Service:
    date = format_datetime(utc_now() + timedelta(seconds=seconds), usegmt=True)
    return Service(
        lambda request: (
            httpx2.Response(200, json={"services": SERVICES}, headers={"date": date})
            if request.url.path == "/cds-services"
            else None
        )
    )


@pytest.mark.parametrize(("seconds", "level"), [(0, "ok"), (3, "ok"), (30, "warning"), (-30, "warning")])
def test_a_clock_that_is_off_is_told(seconds: float, level: str) -> None:
    assert one(examined(far(seconds)), "clock").level == level


CALL = "/cds-services/cramps-order-sign"
WRONG: list[tuple[Service, str, str, str]] = [
    (ill("/cds-services", httpx2.Response(404)), "discovery", "FAIL", "status 404"),
    (ill("/cds-services", httpx2.Response(401)), "discovery", "FAIL", "401"),
    (ill("/cds-services", httpx2.Response(307, headers={"location": "/"})), "discovery", "FAIL", "redirects"),
    (ill("/cds-services", httpx2.Response(200, text="<html>")), "discovery", "FAIL", "without a JSON document"),
    (ill("/cds-services", httpx2.Response(200, json=[])), "services", "FAIL", "lists no services"),
    (ill("/cds-services", httpx2.Response(200, json={"services": [{"id": "a"}]})), "services", "FAIL", "lacks id"),
    (
        ill("/cds-services", httpx2.Response(200, json={"services": [{**SERVICES[0], "prefetch": ["x"]}]})),
        "services",
        "FAIL",
        "malformed",
    ),
    (
        ill("/cds-services", httpx2.Response(200, json={"services": [{**SERVICES[0], "prefetch": {}}]})),
        "prefetch",
        "warning",
        "nothing",
    ),
    (ill("/health", httpx2.Response(404)), "health", "warning", "status 404"),
    (ill("/health", httpx2.Response(200, json={"status": "degraded"})), "health", "warning", "degraded"),
    (ill(CALL, httpx2.Response(500)), "call, order-sign", "FAIL", "status 500 without cards"),
    (ill(CALL, httpx2.Response(200, json={})), "call, order-sign", "FAIL", "without cards"),
    (ill(CALL, httpx2.Response(200, text="nothing")), "call, order-sign", "FAIL", "without cards"),
    (ill("/cds-services/cramps-patient-view/feedback", httpx2.Response(404)), "feedback", "FAIL", "status 404"),
    (ill("/cds-services", httpx2.Response(405), "OPTIONS"), "CORS, preflight", "FAIL", "status 405"),
    (
        ill(CALL, httpx2.Response(204, headers={"access-control-allow-origin": "*"}), "OPTIONS"),
        "CORS, preflight",
        "FAIL",
        "header authorization and",
    ),
    (
        ill(
            CALL,
            httpx2.Response(204, headers={"access-control-allow-origin": "*", "access-control-allow-headers": "*"}),
            "OPTIONS",
        ),
        "CORS, preflight",
        "FAIL",
        "is not allowed",
    ),
    (
        ill(CALL, httpx2.Response(204, headers={"access-control-allow-origin": URL}), "OPTIONS"),
        "CORS, preflight",
        "FAIL",
        "origin",
    ),
    (ill("/cds-services", httpx2.Response(200, json={"services": SERVICES}), "GET"), "CORS, response", "FAIL", "may not be read"),
]


@pytest.mark.parametrize(("service", "check", "level", "text"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_wrong_is_told_with_what_to_mend(service: Service, check: str, level: str, text: str) -> None:
    found = one(examined(service, origin=ORIGIN), check)
    assert found.level == level
    assert text in found.found
    assert found.mend


def test_a_service_that_serves_anybody_is_told() -> None:
    assert one(examined(Service()), "unsigned call").level == "warning"


def test_a_locked_service_without_a_key_is_told_what_to_give() -> None:
    def locked(request: httpx2.Request) -> httpx2.Response | None:
        return httpx2.Response(401) if request.method == "POST" else None

    findings = examined(Service(locked))
    assert one(findings, "unsigned call").level == "ok"
    assert "--key" in one(findings, "signed call").mend
    assert not failed(findings)


def test_a_token_that_is_not_accepted_is_told() -> None:
    findings = examined(Service(lambda request: httpx2.Response(401) if request.method == "POST" else None), signer=SIGNER)
    assert one(findings, "signed call, patient-view").found == "401: the token was not accepted"
    assert "iss, aud, kid" in one(findings, "signed call, patient-view").mend


def test_a_service_that_breaks_off_in_between_does_not_end_the_examination() -> None:
    def broken(request: httpx2.Request) -> httpx2.Response | None:
        if request.url.path == "/health":
            raise httpx2.ReadError("gone")
        return None

    findings = examined(Service(broken))
    assert one(findings, "health").found == "no response (ReadError)"
    assert one(findings, "feedback").level == "ok"


# Keys


def test_a_key_comes_from_a_jwk_or_a_pem_file(tmp_path: Path) -> None:
    keys: list[tuple[ECKey | RSAKey, str]] = [(KEY, "ES384"), (RSAKey.generate_key(2048, {"kid": "r"}), "RS384")]
    for number, (key, alg) in enumerate(keys):
        for form, text in (("jwk", json.dumps(key.as_dict(private=True))), ("pem", key.as_pem(private=True).decode())):
            path = tmp_path / f"{number}.{form}"
            path.write_text(text)
            signer = load_signer(path, iss="i", kid="k")
            assert (signer.alg, signer.kid) == (alg, "k")
            assert jwt.decode(signer.token(URL), key, [alg]).claims["aud"] == URL


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("hello", {}, "neither a JWK nor a PEM"),
        ("{", {}, "no readable key"),
        ('{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ"}', {}, "must be a private key"),
        (json.dumps(KEY.as_dict(private=False)), {}, "must be a private key"),
        (json.dumps({**KEY.as_dict(private=True), "kid": ""}), {}, "give --kid"),
        (json.dumps(KEY.as_dict(private=True)), {"alg": "RS384"}, "does not fit"),
        (json.dumps(KEY.as_dict(private=True)), {"alg": "HS256"}, "does not fit"),
        (json.dumps(KEY.as_dict(private=True)), {"alg": "none"}, "does not fit"),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", {"kid": "k"}, "no readable key"),
    ],
)
def test_a_key_that_can_not_be_used_is_told_without_its_content(tmp_path: Path, content: str, options: Any, message: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(KeyFileError, match=message) as error:
        load_signer(tmp_path / "key", iss="i", **options)
    assert content not in str(error.value)


# A FHIR server


def fhir(answers: dict[str, httpx2.Response], patient: str = "1") -> list[Finding]:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["authorization"] == "Bearer secret"
        return answers.get(request.url.path, httpx2.Response(404, json={"resourceType": "OperationOutcome"}))

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        templates = {**PREFETCH, "encounter": "Encounter/{{context.encounterId}}"}
        return list(examine_fhir("https://fhir.example/r4/", templates, patient, "secret", http))


METADATA = httpx2.Response(200, json={"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1"})
BUNDLE = httpx2.Response(200, json={"resourceType": "Bundle", "entry": [{}]})
PATIENT = httpx2.Response(200, json={"resourceType": "Patient"})


def test_a_fhir_server_is_asked_as_the_service_asks_it() -> None:
    found = fhir({"/r4/metadata": METADATA, "/r4/Patient/1": PATIENT, "/r4/Observation": BUNDLE})
    assert [(finding.check, finding.level, finding.found) for finding in found] == [
        ("FHIR server", "ok", "FHIR 4.0.1"),
        ("FHIR patient", "ok", "a Patient"),
        ("FHIR labs", "ok", "1 found on the first page"),
    ]


def test_what_a_fhir_server_lacks_is_told() -> None:
    assert [finding.level for finding in fhir({})] == ["FAIL"]
    old = httpx2.Response(200, json={"resourceType": "CapabilityStatement", "fhirVersion": "1.0.2"})
    assert [finding.level for finding in fhir({"/r4/metadata": old}, "")] == ["warning", "warning"]
    found = fhir({"/r4/metadata": METADATA, "/r4/Patient/1": httpx2.Response(403, text="no"), "/r4/Observation": PATIENT})
    assert [finding.level for finding in found] == ["ok", "FAIL", "FAIL"]
    assert "scopes" in found[1].mend


def own_ways(server: EhrServer, *keys: str) -> dict[str, tuple[str, str]]:
    """Level and words of the findings about `server`, by check."""
    (service,) = [one for one in knowledge().services if one.hook == "patient-view"]
    templates = {key: template for key, template in service.prefetch.items() if key in keys}
    known = server.answer

    def answer(request: httpx2.Request) -> httpx2.Response:
        return METADATA if request.url.path.endswith("/metadata") else known(request)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        return {one.check: (one.level, one.found) for one in examine_fhir(BASE, templates, "p1", "secret", http)}


def test_a_servers_own_ways_are_told() -> None:
    found = own_ways(EhrServer(patient(), refuses={"_sort"}, lacks={"MedicationStatement"}), "labs", "statements")
    assert found["FHIR labs"] == ("ok", "0 found on the first page; search quirks: Observation without _sort")
    assert found["FHIR statements"] == ("warning", "the server has no MedicationStatement")
    of_several = EhrServer(refuses={"_sort"}, requires={("Observation", "category")})
    assert own_ways(of_several, "labs")["FHIR labs"][1].endswith("Observation without _sort, Observation with category")
    assert own_ways(EhrServer(longest=300), "labs")["FHIR labs"] == (
        "ok",
        "0 found on the first page; search quirks: Observation by POST _search",
    )
    assert own_ways(EhrServer(refuses={"patient", "subject"}), "problems")["FHIR problems"][0] == "FAIL"


def test_whether_medications_that_are_only_referred_to_can_be_read_is_told() -> None:
    bare = {"resourceType": "MedicationRequest", "id": "rx", "medicationReference": {"reference": "Medication/1"}}
    other = bare | {"id": "rx2", "medicationReference": {"reference": f"{BASE}/Medication/2"}}
    medications = [{"resourceType": "Medication", "id": key} for key in ("1", "2")]
    for ids, told in (("list", "by a list of ids"), ("one", "one by one"), ("refuse", "one by one")):
        found = own_ways(EhrServer(bare, other, *medications, ids=ids), "prescriptions")
        assert found["FHIR medications"] == ("ok", f"referenced ones are read {told}")
    found = own_ways(EhrServer(bare, other), "prescriptions")
    assert found["FHIR medications"] == ("FAIL", "prescriptions only refer to them: status 404, without the expected resource")


# Really started services


@pytest.fixture
def dev_service(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    with Server(service_command(port), port, tmp_path, None, {"CDS_LOG_PATH": str(tmp_path / "alerts.sqlite3")}) as server:
        server.wait()
        yield f"http://127.0.0.1:{port}"


@pytest.mark.loopback
@pytest.mark.enable_socket
def test_a_started_service_is_examined(dev_service: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", dev_service, "--origin", ORIGIN]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ok       CORS, preflight: 7 paths may be called" in lines
    assert any(line.startswith("warning  unsigned call: status 200: it answers every caller. CDS_PROFILE=dev") for line in lines)
    assert any(line.startswith("ok       latency: median of 10 calls ") for line in lines)
    assert main(["doctor", dev_service, "--json", "--fhir-base", f"{dev_service}/nothing"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["failed"] is True
    assert [finding["check"] for finding in told["findings"] if finding["level"] == "FAIL"] == ["FHIR server"]


@pytest.mark.loopback
@pytest.mark.enable_socket
def test_the_service_verifies_what_the_doctor_signs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both sides of a token are the real ones: the doctor's own signature, the service's own registry and verification."""
    right, wrong = (ECKey.generate_key("P-384", {"kid": "key-1"}, private=True) for _ in range(2))
    for name, made in (("right", right), ("wrong", wrong)):
        (tmp_path / f"{name}.jwk").write_text(json.dumps(made.as_dict(private=True)), encoding="utf-8")
    registry = write_registry(tmp_path, a_client(jwks=key_set(dict(right.as_dict(private=False)))))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {"CDS_CLIENTS_FILE": registry, "CDS_PUBLIC_URL": url, "CDS_LOG_PATH": tmp_path / "alerts.sqlite3"}
    with Server(service_command(port), port, tmp_path, None, {name: str(value) for name, value in settings.items()}) as server:
        server.wait()

        def examined_with(key: str, iss: str = ISS) -> tuple[int, list[str]]:
            args = ["--public-url", url, "--origin", ORIGIN, "--key", str(tmp_path / f"{key}.jwk"), "--iss", iss]
            return main(["doctor", url, *args]), capsys.readouterr().out.splitlines()

        status, lines = examined_with("right")
        assert (status, [line for line in lines if not line.startswith("ok ")]) == (0, [])
        assert "ok       unsigned call: refused with 401" in lines
        for hook in ("patient-view", "order-select", "order-sign"):
            assert any(line.startswith(f"ok       signed call, {hook}: status 200, ") for line in lines)
        for key, iss in (("wrong", ISS), ("right", "https://another.example/fhir")):
            status, lines = examined_with(key, iss)
            failures = [line for line in lines if line.startswith("FAIL")]
            assert status == 1
            assert failures
            assert all("Compare iss, aud, kid, alg and the key with the registration of the client" in line for line in failures)


@pytest.mark.loopback
@pytest.mark.enable_socket
def test_a_host_that_is_dead_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", f"http://127.0.0.1:{free_port()}"]) == 1
    assert (
        "FAIL     discovery: no response (ConnectError). Check that the service runs, and the address." in capsys.readouterr().out
    )


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(address, certificate) of a service with a certificate that it signed itself, for 3 days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cds")])
    now = utc_now()
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=3))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    (tmp_path / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    port = free_port()
    secure = ["--ssl-keyfile", str(tmp_path / "key.pem"), "--ssl-certfile", str(tmp_path / "cert.pem")]
    command = [sys.executable, "-m", "uvicorn", "--factory", "cds_service.app:application", "--port", str(port), *secure]
    with Server(command, port, tmp_path, None, {"CDS_LOG_PATH": str(tmp_path / "alerts.sqlite3")}) as server:
        server.wait()
        yield f"https://127.0.0.1:{port}", tmp_path / "cert.pem"


@pytest.mark.loopback
@pytest.mark.enable_socket
def test_a_certificate_that_nobody_signed_is_told(certified: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    url, authority = certified
    assert main(["doctor", url]) == 1
    out = capsys.readouterr().out
    assert "FAIL     certificate: self" in out
    assert "--ca FILE" in out
    assert main(["doctor", url, "--ca", str(authority)]) == 0  # trusted now, and it ends soon
    assert "warning  certificate: TLSv1.3, valid for 127.0.0.1" in capsys.readouterr().out
    other = url.replace("127.0.0.1", "localhost")
    trust = ssl.create_default_context(cafile=str(authority))
    assert certificate(other, trust).level == "FAIL"  # it is for another name


# Wrong use


def test_wrong_use_is_told_and_nothing_is_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "cds.example"]) == 2
    assert main(["doctor", URL, "--iss", "i"]) == 2
    (tmp_path / "key").write_text("hello")
    assert main(["doctor", URL, "--key", str(tmp_path / "key"), "--iss", "i"]) == 2
    assert main(["doctor", URL, "--ca", str(tmp_path / "key")]) == 2
    assert "neither a JWK nor a PEM file" in capsys.readouterr().err
    assert main(["doctor", URL, "--key", str(tmp_path / "none"), "--iss", "i"]) == 1


def test_the_help_names_the_variable_for_the_token(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    assert TOKEN_VARIABLE in capsys.readouterr().out
