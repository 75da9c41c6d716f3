"""Asks a server for /health over TLS and prints what it saw as JSON.

    tls_client.py BASE_URL AUTHORITY_PEM 1.1|2
"""

import json
import socket
import ssl
import sys
from urllib.parse import urlsplit

import httpx


def serial_number(url, context):
    """The serial number of the certificate that the server shows."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as plain:
        with context.wrap_socket(plain, server_hostname=parts.hostname) as encrypted:
            return encrypted.getpeercert()["serialNumber"].lstrip("0")


def main():
    """Asks, prints."""
    url, authority, protocol = sys.argv[1:]
    context = ssl.create_default_context(cafile=authority)
    with httpx.Client(verify=context, http2=protocol == "2", http1=protocol != "2") as client:
        response = client.get(f"{url}/health")
    seen = {
        "protocol": response.http_version,
        "status": response.status_code,
        "headers": dict(response.headers),
        "serial": serial_number(url, context),
    }
    json.dump(seen, sys.stdout)


main()
