from __future__ import annotations

import httpx2
import pytest

from cds_service.outbound.base_urls import MAX_LENGTH, FhirBase, base_place, under
from cds_service.trust import Caller

OWN = FhirBase("https://ehr.example/fhir/tenant")
INTERNAL = FhirBase("http://10.1.2.3:8080/fhir", private=True)
REGISTERED = Caller("a hospital", fhir_bases=(OWN, INTERNAL))


@pytest.mark.parametrize(
    ("base", "url", "inside"),
    [
        ("https://a.example", "https://a.example/Patient", True),
        ("https://a.example/fhir", "https://a.example:443/fhir/Patient?x=//b", True),
        ("https://A.example/fhir", "https://a.EXAMPLE/fhir", True),
        ("http://a.example:80/fhir", "http://a.example/fhir/", True),
        ("https://a.example/fhir", "https://a.example/FHIR/Patient", False),
        ("https://a.example/fhir", "https://a.example/fhirs", False),
        ("https://a.example/a/b", "https://a.example/a%2Fb/c", False),
        ("ftp://a.example", "ftp://a.example/x", False),
        ("https://a.example/fhir", "https://a.example/fhir/%2E%2e/other", False),
        ("https://a.example/fhir", "https://a.example/fhir/..%2f..%2Fother", False),
        ("https://a.example/fhir", "https://a.example/fhir/x%5c..%5cother", False),
        ("https://a.example/fhir", "https://a.example/fhir/..;/other", False),
        ("https://a.example/fhir", "https://a.example/fhir/%2e%2E%3bx=1/other", False),
        ("https://a.example/fhir", "https://a.example/fhir/Observation/a..b;c%2Fd?code=x%7Cy&page=..%2F", True),
        ("https://a.example/fhir", "https://me@a.example/fhir/x", False),
        ("http:///x", "http:///x/y", False),
        ("http://a.example:99999", "http://a.example:99999/x", False),
    ],
)
def test_a_url_is_under_a_base_by_origin_and_whole_path_segments(base: str, url: str, inside: bool) -> None:
    assert under(httpx2.URL(base), httpx2.URL(url)) is inside


@pytest.mark.parametrize(
    "named",
    [
        "https://ehr.example/fhir/tenant",
        "https://ehr.example/fhir/tenant/",
        "https://EHR.Example:443/fhir/tenant",
        "HTTPS://ehr.example/fhir/tenant",
        "https://ehr\u3002example/fhir/tenant",  # an ideographic full stop, which IDNA takes for a dot
    ],
)
def test_a_base_is_the_same_however_its_origin_is_written_and_asked_as_it_is_registered(named: str) -> None:
    assert REGISTERED.base_of(named) is OWN
    assert REGISTERED.base_of("http://10.1.2.3:8080/fhir") is INTERNAL


@pytest.mark.parametrize(
    "named",
    [
        "http://ehr.example/fhir/tenant",
        "https://ehr.example:8443/fhir/tenant",
        "https://ehr.example/fhir",
        "https://ehr.example/fhir/tenant/more",
        "https://ehr.example/fhir/tenant2",
        "https://ehr.example/FHIR/tenant",
        "https://ehr.example/fhir%2Ftenant",
        "https://ehr.example/fhir/tenant?x=1",
        "https://ehr.example/fhir/tenant#x",
        "https://ehr.example/fhir/./tenant/../../fhir/%2e/tenant",
        "https://ehr.example./fhir/tenant",
        "https://ehr.example.evil.example/fhir/tenant",
        "https://evil.example/https://ehr.example/fhir/tenant",
        "https://ehr.example@evil.example/fhir/tenant",
        "https://evil.example\\@ehr.example/fhir/tenant",
        "https://ehr.example\\fhir\\tenant",
        "https://me:secret@ehr.example/fhir/tenant",
        "https://ehr.exаmple/fhir/tenant",  # a Cyrillic letter
        " https://ehr.example/fhir/tenant",
        "https://ehr.example\t/fhir/tenant",
        "//ehr.example/fhir/tenant",
        "ehr.example/fhir/tenant",
        "http://167838211:8080/fhir",  # 10.1.2.3 in other notations
        "http://0xa010203:8080/fhir",
        "http://012.1.2.3:8080/fhir",
        "http://10.66051:8080/fhir",
        "http://[::ffff:10.1.2.3]:8080/fhir",
        "http://[::ffff:a01:203]:8080/fhir",
        "",
    ],
)
def test_a_server_that_is_not_registered_is_no_base(named: str) -> None:
    assert REGISTERED.base_of(named) is None


def test_a_caller_without_bases_has_none() -> None:
    assert Caller("a hospital", fhir_bases=()).base_of(OWN.url) is None


@pytest.mark.parametrize(
    "named", ["http://ehr.example", "https://ehr.example/fhir", "http://127.0.0.1:80", "http://[::1]:8/fhir"]
)
def test_in_the_dev_profile_any_web_server_may_be_asked_private_or_not(named: str) -> None:
    assert Caller("anonymous").base_of(named) == FhirBase(named, private=True)


@pytest.mark.parametrize(
    "named",
    [
        *(
            "",
            "ehr.example",
            "ftp://ehr.example",
            "file:///etc/passwd",
            "HTTP",
            "http://",
            "http://:80",
            "http://[::1",
            "http://e:0",
        ),
        *("http://ehr.example:99999", "http://a..b", "http://-a.example", "http://" + "a" * 64 + ".example", "http://xn--\u00fc"),
        *("http://2130706433", "http://0x7f.1", "http://0177.0.0.1", "http://127.1", "http://a.0x1", "http://127.0.0.1."),
        *("http://[::ffff:127.0.0.1]", "http://[0:0::1]", "http://[fe80::1%25eth0]", "http://%31%32%37.0.0.1", "http://a b"),
        "http://ehr.example/" + "x" * MAX_LENGTH,
        "http://" + "a." * 127 + "example",
    ],
)
def test_what_can_be_read_in_two_ways_is_no_address(named: str) -> None:
    assert base_place(named) is None
    assert Caller("anonymous").base_of(named) is None
