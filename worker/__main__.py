"""`python -m worker` is `moodstream`."""

import sys

from worker.cli import main

sys.exit(main())
