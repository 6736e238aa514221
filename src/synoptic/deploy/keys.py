"""Keys and certificates for trying out, and the checks that a server makes of its own before it listens.

A real federation has a certificate authority already; what it signs is used in the same way.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from synoptic.core import SynopticError
from synoptic.core.files import write_bytes

CA, SERVER = "ca", "server"
SITES, CLIENTS = "sites", "clients"
"""Folders of the nodes' private keys, one for each site alone, and of the public ones, for the server."""

PUBLIC = ".pub"
CURVE = ec.SECP384R1
"""What Flower signs requests with."""

LONGEST = 36500
"""Days that a certificate may last."""

HERE = ("localhost", "127.0.0.1")


def make_keys(folder: Path, hosts: Sequence[str], sites: Sequence[str], days: int = 365) -> list[Path]:
    """Write what is not there yet: a CA, a server certificate for ``hosts``, and a pair of keys for each site.

    Args:
        folder: where.
        hosts: names and addresses of the server; none is this machine.
        sites: names of the sites.
        days: how long certificates last.

    Returns:
        The files written.

    Raises:
        SynopticError: a site's name that is no file name, a host that is none or that the server certificate there
            does not have, days that no calendar has, or a folder that cannot be written.
    """
    if days > LONGEST:
        raise SynopticError(f"a certificate cannot last {days} days", f"give at most {LONGEST}")
    odd = [site for site in sites if not site or not site.replace("-", "").replace("_", "").isalnum()]
    if odd:
        raise SynopticError(f"'{odd[0]}' cannot be a site's name", "use letters, digits, - and _")
    if strange := [host for host in hosts if not re.fullmatch(r"[\w.*-]+", host) and not _is_address(host)]:
        raise SynopticError(f"--host {strange[0]} is no name or address", "give it alone, without port or https://")
    try:
        return [
            *_authority(folder, days),
            *_server(folder, hosts, days),
            *(path for site in sites for path in _site(folder, site)),
        ]
    except OSError as error:
        raise SynopticError(f"keys cannot be written to {folder} ({error.strerror})", "take another folder") from error


def read_clients(folder: Path) -> dict[str, bytes]:
    """Public keys of the nodes that may join, by name, in the order of names.

    Raises:
        SynopticError: no folder, no key in it, or a file that is no public key.
    """
    if not folder.is_dir():
        raise SynopticError(f"there is no folder {folder}", "make it with: synoptic keys")
    files = sorted(folder.glob(f"*{PUBLIC}"))
    if not files:
        raise SynopticError(f"{folder} holds no public key (*{PUBLIC})", "make some with: synoptic keys")
    found: dict[str, bytes] = {}
    for path in files:
        try:
            key = serialization.load_pem_public_key(path.read_bytes())
        except (ValueError, OSError) as error:
            raise SynopticError(f"{path} is no public key", "give the .pub file of a node") from error
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise SynopticError(f"{path} is a key of another kind", "make nodes' keys with: synoptic keys")
        found[path.stem] = path.read_bytes()
    return found


def read_key(path: Path) -> bytes:
    """A node's private key.

    Raises:
        SynopticError: no such file, or not one.
    """
    _check_file(path, "give the .key file that `synoptic keys` made")
    try:
        content = path.read_bytes()
        key = serialization.load_pem_private_key(content, None)
    except (ValueError, TypeError, OSError) as error:
        raise SynopticError(
            f"{path} is no private key of a node", "give the .key file that `synoptic keys` made"
        ) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise SynopticError(f"{path} is a key of another kind", "make nodes' keys with: synoptic keys")
    return content


def check_certificate(certificate: Path, key: Path, authority: Path | None = None) -> None:
    """See that a server can show its certificate: readable, valid today, of this key, and issued by this authority.

    Raises:
        SynopticError: it cannot.
    """
    for path in (certificate, key, *([authority] if authority else [])):
        _check_file(path, "make both with: synoptic keys")
    chain = _certificates(certificate)
    shown = chain[0]
    now = datetime.now(UTC)
    if now > shown.not_valid_after_utc:
        raise SynopticError(f"the certificate {certificate} ended on {shown.not_valid_after_utc:%Y-%m-%d}", "renew it")
    if now < shown.not_valid_before_utc:
        raise SynopticError(f"the certificate {certificate} begins on {shown.not_valid_before_utc:%Y-%m-%d}",
                            "check this machine's clock")  # fmt: skip
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SynopticError(f"{key} is not the key of {certificate}", "give both files of one pair") from error
    if authority and not any(_issued(one, by) for one in chain for by in _certificates(authority)):
        raise SynopticError(f"{certificate} was not issued by {authority}, so nodes that trust it would not come in",
                            "give the certificate's own authority")  # fmt: skip


def _certificates(path: Path) -> list[x509.Certificate]:
    """A certificate and those of its issuers that stand behind it in the file."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SynopticError(f"{path} is no certificate", "make one with: synoptic keys") from error


def _issued(one: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _check_file(path: Path, what_to_do: str) -> None:
    if not path.is_file():
        raise SynopticError(f"there is no file {path}", what_to_do)


def _authority(folder: Path, days: int) -> list[Path]:
    if (folder / f"{CA}.key").exists():
        return []
    key = ec.generate_private_key(CURVE())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Synoptic, for trying out")])
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    builder = _builder(name, name, key, days).add_extension(x509.BasicConstraints(True, 0), True)
    signed = builder.add_extension(usage, True).sign(key, hashes.SHA384())
    return _pair(folder / CA, key, signed)


def _server(folder: Path, hosts: Sequence[str], days: int) -> list[Path]:
    if (folder / f"{SERVER}.key").exists():
        _check_hosts(folder / f"{SERVER}.crt", hosts)
        return []
    hosts = hosts or HERE
    authority = x509.load_pem_x509_certificate((folder / f"{CA}.crt").read_bytes())
    signer = serialization.load_pem_private_key((folder / f"{CA}.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(CURVE())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    builder = _builder(name, authority.subject, key, days)
    builder = builder.add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False
    ).add_extension(x509.BasicConstraints(False, None), True)
    return _pair(folder / SERVER, key, builder.sign(signer, hashes.SHA384()))


def _check_hosts(certificate: Path, hosts: Sequence[str]) -> None:
    shown = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = list(shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    if missing := [host for host in hosts if _alternative(host) not in names]:
        has = ", ".join(str(name.value) for name in names)
        raise SynopticError(f"{certificate} is there already, for {has} and not for {missing[0]}",
                            f"remove it and {SERVER}.key to make both anew")  # fmt: skip


def _is_address(host: str) -> bool:
    return isinstance(_alternative(host), x509.IPAddress)


def _site(folder: Path, site: str) -> list[Path]:
    private, public = folder / SITES / f"{site}.key", folder / CLIENTS / f"{site}{PUBLIC}"
    if private.exists():
        return []
    key = ec.generate_private_key(CURVE())
    _write_private(private, key)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    write_bytes(public, key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return [private, public]


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    # A day back, for clocks that are not quite together.
    return x509.CertificateBuilder(
        issuer,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        now - timedelta(days=1),
        now + timedelta(days=days),
    ).add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pair(stem: Path, key: ec.EllipticCurvePrivateKey, signed: x509.Certificate) -> list[Path]:
    private, certificate = stem.with_suffix(".key"), stem.with_suffix(".crt")
    _write_private(private, key)
    write_bytes(certificate, signed.public_bytes(serialization.Encoding.PEM))
    return [private, certificate]


def _write_private(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    content = key.private_bytes(serialization.Encoding.PEM, form, none)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Nobody else may read it, from the first moment on.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
