"""The images' health check: exit code 0 while the service is ready.

Python's own client, because the images have no curl; http.client, because urllib would ask a proxy that the
environment names.
"""

import http.client
import os
import sys

port = int(os.environ.get("ABINET_PORT") or 8000)
connection = http.client.HTTPConnection("127.0.0.1", port, timeout=4)
try:
    connection.request("GET", "/health/ready")
    status = connection.getresponse().status
except OSError as error:
    sys.exit(f"127.0.0.1:{port}: {error}")
if status != 200:
    sys.exit(f"127.0.0.1:{port}: not ready, status {status}")
