"""A TLS handshake in memory."""

import ssl
import tempfile
from pathlib import Path

from batcher_operator.certs.x509 import Certificate, read_certificates


def handshake(certificate: bytes, key: bytes, bundle: bytes, name: str) -> Certificate:
    """What a client that trusts the bundle is shown by the server of that name.

    Raises ssl.SSLCertVerificationError if the client does not accept it.
    """
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tls.crt").write_bytes(certificate)
        (Path(folder) / "tls.key").write_bytes(key)
        serving.load_cert_chain(Path(folder) / "tls.crt", Path(folder) / "tls.key")
    trusting = ssl.create_default_context(cadata=bundle.decode())
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server, server_hostname=name)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    done = False
    while not done:
        try:
            client.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        try:
            server.do_handshake()
        except ssl.SSLWantReadError:
            pass
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    (found,) = read_certificates(ssl.DER_cert_to_PEM_cert(shown).encode())
    return found
