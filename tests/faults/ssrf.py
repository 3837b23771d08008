"""URLs that mean another place than they seem to, for a service whose FHIR server is `ehr.example` and a victim on 127.0.0.1."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

LOCAL_NAMES = ("localhost", "local.evil.example", "127.0.0.1.nip.example", "ehr.example.evil.example", "metadata.evil.example")

_HOSTS = (
    *("127.0.0.1", "127.1", "127.0.1", "127.000.000.001", "2130706433", "017700000001", "0x7f000001", "0x7f.0.0.1"),
    *("0177.0.0.1", "0x7f.1", "127.0.0.1.", "127.0.0.0x1", "0", "0.0.0.1", "000.0.0.0", "[::1]", "[::]", "[::127.0.0.1]"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]"),
    *("[::1%25lo]", "[fe80::1%25eth0]", "１２７.０.０.１", "127。0。0。1", "①②⑦.⓪.⓪.①", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "LOCALHOST", "localhost%00"),
    *("%31%32%37.0.0.1", "127%2e0%2e0%2e1", "10.0.0.1", "169.254.169.254", "[fd00:ec2::254]", "100.100.100.200"),
    *("192.168.0.1", "172.16.0.1", "[fc00::1]", *LOCAL_NAMES),
    *("ehr.example@{}", "ehr.example:443@{}", "ehr.example%40{}", "ehr.example\\@{}", "{}\\@ehr.example", "{}#@ehr.example"),
    *("{}?@ehr.example", "{}%23@ehr.example", "{};ehr.example", "ehr.example,{}", "ehr.example&@{}", "me:pw@{}"),
    "{}%2f@ehr.example",
)
_SCHEMES = ("http://", "https://", "HTTP://", "//", "http:/", "http:\\\\", " http://", "http:////", "file://", "ftp://")
_PORTS = ("", ":{port}", ":0{port}", ":{port}#", ":{port}?")
_PATHS = ("/fhir", "/fhir/", "/fhir/../fhir", "/fhir;x=1", "/https://ehr.example/fhir", "/fhir%2f..", "/%2e%2e/fhir", "")


def urls(port: int) -> Iterator[str]:
    """Some 20,000 of them; `port` is where the victim listens."""
    for number, (scheme, host, port_text, path) in enumerate(itertools.product(_SCHEMES, _HOSTS, _PORTS, _PATHS)):
        inner = ("127.0.0.1", "localhost")[number % 2]
        yield f"{scheme}{host.format(inner)}{port_text.format(port=port)}{path}"
