"""`python -m service` is `abinet`."""

import sys

from service.cli import main

sys.exit(main())
