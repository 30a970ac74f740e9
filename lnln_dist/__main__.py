"""``python -m lnln_dist`` is ``lnln-dist``."""

import sys

from lnln_dist.cli import main

sys.exit(main())
