"""What the worker's exit code says to its supervisor. The table in docs/ is written from this file."""

OK = 0
"""Drained and stopped as asked."""

INTERNAL = 1
"""A fault of the program, or a state that only a fresh start clears."""

USAGE = 2
"""A setting is wrong: starting again is of no use before it is changed."""

BROKER_UNAVAILABLE = 3
"""No broker answered within `kafka.connect_limit_s`."""

BROKER_REFUSED = 4
"""The broker answered and refused: login, TLS, rights, or a record that it does not take."""

FENCED = 5
"""Another worker runs in the same slot of the same group, and it is the newer one."""

WATCHDOG = 6
"""A checkpoint hung for `delivery.watchdog_s`; a fresh start takes up the work."""

MODEL = 7
"""The model pack is missing or damaged."""

TOPIC_MISSING = 8
"""An input or output topic does not exist; `moodstream topics create` makes them."""
