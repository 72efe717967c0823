"""python -m sgmim: the command line, also where its script is not on the path."""

import sys

from sgmim.cli import main

sys.exit(main())
