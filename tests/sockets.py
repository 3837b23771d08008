"""What the tests with real sockets share: a server that does as it is told, certificates, a resolver made of answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cds_service.clock import utc_now

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Loopback:
    """A server on 127.0.0.1 that remembers what it was sent, and talks as `talk` does once it has the headers of a request."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self.port = 0
        self.connections = 0
        self.open = 0  # connections that neither side has closed
        self.received: list[bytes] = []  # requests, up to the empty line
        self.server_names: list[str | None] = []  # of TLS handshakes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while not writer.is_closing():
                self.received.append(await reader.readuntil(b"\r\n\r\n"))
                await self._talk(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other side has gone
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def loopback(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[Loopback]:
    held = Loopback(talk)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(held.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if tls is not None:
        tls.sni_callback = lambda _, name, __: held.server_names.append(name)
    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls, backlog=512)
    held.port = server.sockets[0].getsockname()[1]
    try:
        yield held
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def saying(answer: bytes, *, close: bool = True) -> Talk:
    """Sends `answer` and hangs up, unless the connection shall stay."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if close:
            writer.close()

    return talk


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """An HTTP answer of `body`, with its length."""
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "content-type: application/fhir+json", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Names:
    """A resolver: for each name its addresses, one row for each time that it is asked (the last for ever)."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self._answers = {name.replace("_", "."): list(rows) for name, rows in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        rows = self._answers.get(host)
        if rows is None:
            return [str(ip_address(host))] if host[0].isdigit() or ":" in host else []
        return rows.pop(0) if len(rows) > 1 else rows[0]


def certificates(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(context of a server called `name`, context of a client that trusts it)."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(issuer)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(utc_now() - timedelta(days=1))
        .not_valid_after(utc_now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / f"{name}.pem"
    text = certificate.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem.write_bytes(secret + text)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cadata=text.decode())
