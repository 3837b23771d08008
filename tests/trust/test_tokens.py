"""T1: forged, bent and broken tokens, through the application: none is accepted, and every good one is.

`CDS_MUTATED_TOKENS=10000 CDS_VALID_TOKENS=500` is the long form.
"""

from __future__ import annotations

import hmac
import json
import random
from base64 import urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws

from cds_service.trust.refusal import CallerRefusedError
from cds_service.trust.tokens import MAX_TOKEN, bearer, read_token
from tests import proofs
from tests.http_side import call_body, running
from tests.tokens import JKU, SERVICE, a_client, claims, encoded, key_set, private_key, public_jwk, signed, signed_bytes
from tests.trusting import NOW, app_with, callers

MUTATED = proofs.examples("CDS_MUTATED_TOKENS", 100, 500)
VALID = proofs.examples("CDS_VALID_TOKENS", 20, 60)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ORDER_384 = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973

SHAPE = {  # the headers of every refusal
    "content-length": "0",
    "www-authenticate": "Bearer",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "vary": "Origin",
}

Mutate = Callable[[str, random.Random], str]


def b64(data: Any) -> str:
    return encoded(data if isinstance(data, bytes) else json.dumps(data).encode()).decode()


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    header, payload, signature = token.split(".")
    return json.loads(raw(header)), json.loads(raw(payload)), raw(signature)


def raw(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


# Each takes a good token and gives one that must be refused


def other_character(token: str, dice: random.Random) -> str:
    at = dice.randrange(len(token))
    return token[:at] + dice.choice([one for one in ALPHABET + ".=+/ \t" if one != token[at]]) + token[at + 1 :]


def missing_character(token: str, dice: random.Random) -> str:
    at = dice.randrange(len(token))
    return token[:at] + token[at + 1 :]


def extra_character(token: str, dice: random.Random) -> str:
    at = dice.randrange(len(token) + 1)
    return token[:at] + dice.choice(ALPHABET + ".=") + token[at:]


def cut(token: str, dice: random.Random) -> str:
    return token[: dice.randrange(len(token))]


def parts_mixed(token: str, dice: random.Random) -> str:
    parts = token.split(".")
    mixed = [dice.choice([*parts, ""]) for _ in range(dice.choice([1, 2, 3, 3, 3, 4, 5]))]
    return ".".join(mixed) if mixed != parts else ".".join(reversed(parts))


def claim_changed(token: str, dice: random.Random) -> str:
    header, payload, signature = token.split(".")
    said = json.loads(raw(payload))
    change = dice.choice(
        [
            {"jti": str(dice.random())},
            {"exp": said["exp"] - 1},
            {"iat": said["iat"] + 1},
            {"sub": "x"},
            {"aud": [said["aud"], "x"]},
        ]
    )
    return f"{header}.{b64(said | change)}.{signature}"


def header_changed(token: str, dice: random.Random) -> str:
    header, payload, signature = token.split(".")
    change = dice.choice([{"kid": "k2"}, {"alg": "RS384"}, {"alg": "ES256"}, {"alg": "ES512"}, {"x": 1}, {"jku": JKU}])
    return f"{b64(json.loads(raw(header)) | change)}.{payload}.{signature}"


def no_algorithm(token: str, dice: random.Random) -> str:
    header, payload, signature = token.split(".")
    name = dice.choice(
        ["none", "None", "NONE", "nOnE", "", "es384", "ES384 ", None, 5, ["ES384"], "HS384", "ES256K", "EdDSA", "dir"]
    )
    return f"{b64(json.loads(raw(header)) | {'alg': name})}.{payload}.{dice.choice(['', signature, b64(bytes(96))])}"


def symmetric(token: str, dice: random.Random) -> str:
    """The public key as the secret of an HMAC: the classic confusion of algorithms."""
    header, payload, _ = parts_of(token)
    key = private_key()
    forms = [
        key.as_pem(private=False),
        json.dumps(public_jwk()).encode(),
        key.as_der(private=False),
        b"\0" * 48,
        raw(public_jwk()["x"]),
    ]
    name = dice.choice(["HS256", "HS384", "HS512"])
    content = f"{b64(header | {'alg': name})}.{b64(payload)}"
    signature = hmac.digest(dice.choice(forms), content.encode(), f"sha{name[2:]}")
    return f"{content}.{b64(signature)}"


def foreign_key(token: str, dice: random.Random) -> str:
    """Signed by somebody else, under our client's `kid`, bringing or naming the key that would verify it."""
    algorithm = dice.choice(["ES384", "RS384", "ES256", "PS384", "RS256"])
    jwk = public_jwk("attacker", algorithm)
    brought: dict[str, Any] = dice.choice(
        [
            *({}, {"jwk": jwk}, {"jku": "https://attacker.example/jwks.json"}, {"x5u": "https://attacker.example/x.pem"}),
            *({"x5c": ["MIIB"]}, {"crit": ["exp"], "exp": 1}, {"b64": False, "crit": ["b64"]}, {"kid": "attacker", "jwk": jwk}),
            *({"kid": "../../dev/null"}, {"kid": "' OR 1=1 --"}, {"kid": "k1\u0000"}, {"typ": "at+jwt"}, {"typ": None}),
        ]
    )
    header = {"alg": algorithm, "kid": "k1", "typ": "JWT"} | brought
    content = json.dumps({name: value for name, value in header.items() if value is not None}).encode()
    return signed_bytes(content, json.dumps(parts_of(token)[1]).encode(), "attacker", algorithm)


def true_key_bad_header(token: str, dice: random.Random) -> str:
    """Truly signed by our client, and still refused for what its header asks for."""
    change: dict[str, Any] = dice.choice(
        [
            *({"jwk": public_jwk()}, {"x5c": []}, {"x5u": JKU}, {"crit": []}, {"crit": ["exp"]}, {"b64": True}, {"typ": "JOSE"}),
            *(
                {"typ": None},
                {"typ": ["JWT"]},
                {"kid": None},
                {"kid": 1},
                {"kid": ""},
                {"kid": "K1"},
                {"kid": "k1 "},
                {"jku": JKU},
            ),
            *({"jku": ""}, {"jku": None}, {"jku": [JKU]}),
        ]
    )
    if change == {"jku": None}:
        return signed_bytes(b'{"alg":"ES384","kid":"k1","typ":"JWT","jku":5}', json.dumps(parts_of(token)[1]).encode())
    return signed(now=NOW, header=change)


def bad_signature(token: str, dice: random.Random) -> str:
    header, payload, _ = token.split(".")
    good = parts_of(token)[2]
    r, s = int.from_bytes(good[:48]), int.from_bytes(good[48:])
    zero = bytes(48)
    forms = [
        *(bytes(96), zero + good[48:], good[:48] + zero, good[48:] + good[:48], good[:95], good + b"\0", b"\0" + good),
        *(encode_dss_signature(r, s), ORDER_384.to_bytes(48) * 2, good[:48] + (s ^ 1).to_bytes(48), b"\1" * 96, good * 2),
        *((r ^ 1 << dice.randrange(384)).to_bytes(48) + good[48:], bytes([good[0] ^ 128]) + good[1:]),
    ]
    return f"{header}.{payload}.{b64(dice.choice(forms))}"


def odd_json(token: str, dice: random.Random) -> str:
    """Truly signed, but not the one JSON object that everybody would read in the same way."""
    said = json.dumps(claims(now=NOW))
    head = '{"alg":"ES384","kid":"k1","typ":"JWT"}'
    forms: list[tuple[str, str]] = [
        *((head, text) for text in ("", "null", "[]", '"x"', "5", "{", said[:-1], said + said, f"[{said}]", "\ufeff" + said)),
        (head, said[:-1] + ',"aud":"https://else.example"}'),
        (head, said[:-1] + f',"iss":{json.dumps(json.loads(said)["iss"])}}}'),
        (head, said.replace('"exp": 1800000300', '"exp": NaN')),
        (head, said.replace('"exp": 1800000300', '"exp": Infinity')),
        (head, said.replace('"exp": 1800000300', '"exp": 1e999')),
        (head, said.replace('"exp": 1800000300', '"exp": ' + "9" * 5000)),
        (head, said.replace('"exp": 1800000300', '"exp": 18000003' + "0" * 400 + "e-400")),
        (head, said[:-1] + ',"x":' + "[" * 2500 + "]" * 2500 + "}"),
        (head, said[:-1] + ',"x":' + '{"a":' * 1200 + "1" + "}" * 1200 + "}"),
        *((text, said) for text in ("", "null", "[]", head[:-1], head + head, head[:-1] + ',"alg":"none"}', '{"alg":"ES384"}')),
    ]
    header, payload = dice.choice(forms)
    return signed_bytes(header.encode(), payload.encode())


def not_utf8(token: str, dice: random.Random) -> str:
    said = json.dumps(claims(now=NOW)).encode()
    return signed_bytes(b'{"alg":"ES384","kid":"k1","typ":"JWT"}', said[:-1] + b',"x":"\xff"}')


MUTATIONS: list[Mutate] = [
    *(other_character, other_character, missing_character, extra_character, cut, parts_mixed, claim_changed, header_changed),
    *(no_algorithm, symmetric, foreign_key, true_key_bad_header, bad_signature, odd_json, not_utf8),
]


async def call(client: httpx2.AsyncClient, token: str) -> httpx2.Response:
    headers = {"authorization": b"Bearer " + token.encode("utf-8", "surrogatepass")}
    return await client.post("/cds-services/cramps-order-sign", json=call_body("order-sign"), headers=headers)  # type: ignore[arg-type]


@pytest.mark.proof
async def test_no_mutated_token_is_accepted_and_every_valid_one_is(tmp_path: Path) -> None:
    dice = random.Random(20260301)
    known = callers(tmp_path, a_client(jku=None))
    accepted, answers = [], set()
    async with running(app_with(tmp_path, known)) as client:
        for number in range(MUTATED):
            token = signed(now=NOW)
            mutation = MUTATIONS[number % len(MUTATIONS)]
            changed = mutation(token, dice)
            assert changed != token
            answer = await call(client, changed)
            if answer.status_code != 401:
                accepted.append((mutation.__name__, answer.status_code, changed))
            answers.add((answer.status_code, answer.content, tuple(sorted(answer.headers.items()))))
        good = [(await call(client, signed(now=NOW))).status_code for _ in range(VALID)]
    assert accepted[:3] == []
    assert answers == {(401, b"", tuple(sorted(SHAPE.items())))}
    assert good == [200] * VALID


@pytest.mark.parametrize("algorithm", ["ES384", "RS384", "ES256", "RS256", "ES512", "PS384"])
async def test_each_algorithm_of_the_list_works_with_its_own_keys_only(tmp_path: Path, algorithm: str) -> None:
    keys = key_set(public_jwk("k1", algorithm))
    async with running(app_with(tmp_path, callers(tmp_path, a_client(jwks=keys, algorithms=[algorithm])))) as client:
        assert (await call(client, signed(now=NOW, algorithm=algorithm))).status_code == 200
        for other in {"ES384", "RS384", "ES256", "RS256", "ES512", "PS384"} - {algorithm}:
            assert (await call(client, signed(now=NOW, algorithm=other))).status_code == 401


async def test_a_key_that_is_there_is_not_enough_where_its_algorithm_is_not_registered(tmp_path: Path) -> None:
    keys = key_set(public_jwk("k1", "ES384"), public_jwk("k1", "RS384"))
    async with running(app_with(tmp_path, callers(tmp_path, a_client(jwks=keys, algorithms=["ES384"])))) as client:
        assert (await call(client, signed(now=NOW, algorithm="RS384"))).status_code == 401
        assert (await call(client, signed(now=NOW, algorithm="ES384"))).status_code == 200


async def test_a_key_may_be_bound_to_one_algorithm(tmp_path: Path) -> None:
    """The same RSA key verifies RS384, which its JWK names, and not RS256, which the client is allowed as well."""
    client_entry = a_client(jwks=key_set(public_jwk("k1", "RS384")), algorithms=["RS384", "RS256"])
    async with running(app_with(tmp_path, callers(tmp_path, client_entry))) as client:
        assert (await call(client, signed(now=NOW, algorithm="RS384"))).status_code == 200
        head = b'{"alg":"RS256","kid":"k1","typ":"JWT"}'
        content = b".".join((encoded(head), encoded(json.dumps(claims(now=NOW)).encode())))
        signature = jws.JWSRegistry.algorithms["RS256"].sign(content, private_key("k1", "RS384"))
        assert (await call(client, f"{content.decode()}.{b64(signature)}")).status_code == 401


async def test_the_second_form_of_an_elliptic_signature_is_the_same_token(tmp_path: Path) -> None:
    """(r, -s) verifies wherever (r, s) does; nobody gains anything, because the `jti` is the same."""
    async with running(app_with(tmp_path, callers(tmp_path))) as client:
        token = signed(now=NOW)
        header, payload, signature = token.split(".")
        r, s = raw(signature)[:48], int.from_bytes(raw(signature)[48:])
        assert (await call(client, token)).status_code == 200
        assert (await call(client, f"{header}.{payload}.{b64(r + (ORDER_384 - s).to_bytes(48))}")).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer")],
        [("authorization", "Bearer ")],
        [("authorization", "Basic Zm9vOmJhcg==")],
        [("authorization", "Token x.y.z")],
        [("authorization", "Bearer  two.spaces.here")],
        [("authorization", "Bearer \u00e9.\u00e9.\u00e9")],
        [("authorization", f"Bearer {'a' * 9000}")],
        [("authorization", "Bearer a.b.c"), ("authorization", "Bearer a.b.c")],
        [("x-authorization", "Bearer a.b.c")],
    ],
)
async def test_no_token_and_garbled_headers_get_the_same_answer(tmp_path: Path, headers: list[tuple[str, str]]) -> None:
    async with running(app_with(tmp_path, callers(tmp_path))) as client:
        sent = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        answer = await client.post("/cds-services/cramps-order-sign", content=b"{}", headers=sent)
    assert (answer.status_code, answer.content, dict(answer.headers)) == (
        401,
        b"",
        SHAPE,
    )


async def test_the_scheme_is_read_in_any_case_and_one_of_two_headers_is_not_chosen(tmp_path: Path) -> None:
    async with running(app_with(tmp_path, callers(tmp_path))) as client:
        path, body = "/cds-services/cramps-order-sign", call_body("order-sign")
        for scheme in ("bearer", "BEARER"):
            headers = {"authorization": f"{scheme} {signed(now=NOW)}"}
            assert (await client.post(path, json=body, headers=headers)).status_code == 200
        two = [(b"authorization", b"Bearer " + signed(now=NOW).encode()) for _ in range(2)]
        assert (await client.post(path, json=body, headers=two)).status_code == 401


def test_a_token_of_the_greatest_length_is_read_and_a_longer_one_is_not() -> None:
    def padded(length: int) -> str:
        filler = "x" * ((length - len(signed(now=NOW, jku=None, x=""))) * 3 // 4)
        return signed(now=NOW, x=filler)

    assert len(padded(MAX_TOKEN)) <= MAX_TOKEN
    assert read_token(padded(MAX_TOKEN)).issuer
    with pytest.raises(CallerRefusedError):
        bearer([(b"authorization", b"Bearer " + b"a" * (MAX_TOKEN + 1))])


@given(st.one_of(st.text(max_size=80), st.tuples(*[st.binary(max_size=40)] * 3).map(lambda three: ".".join(map(b64, three)))))
def test_any_text_is_read_or_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(CallerRefusedError):
        read_token(text)


def test_spare_bits_and_padding_of_base64_are_refused_in_every_part() -> None:
    parts = [b64(b'{"alg":"ES384","kid":"k1","typ":"JWT","x":"%s"}' % (b"x" * pad)) for pad in range(3)]
    loose = next(part for part in parts if len(part) % 4)
    spare = loose[:-1] + chr(ord(loose[-1]) + 1)
    assert raw(spare) == raw(loose)
    header, payload, signature = signed(now=NOW).split(".")
    for odd in (spare, f"{loose}=", f"{loose}A==="):
        for token in (f"{odd}.{payload}.{signature}", f"{header}.{odd}.{signature}", f"{header}.{payload}.{odd}"):
            with pytest.raises(CallerRefusedError, match="not_a_token"):
                read_token(token)
    assert read_token(f"{header}.{payload}.{loose}").kid == "k1"


def test_a_token_does_not_show_itself() -> None:
    token = signed(now=NOW)
    assert repr(read_token(token)) == "Token(…)"
    assert SERVICE not in repr(read_token(token))
