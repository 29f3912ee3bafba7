"""`python -m moodstream` is the command `moodstream`."""

import sys

from moodstream._implementation import take_name

take_name()

from worker.cli import main  # noqa: E402 - another `worker` may come first in the path

if __name__ == "__main__":
    sys.exit(main())
