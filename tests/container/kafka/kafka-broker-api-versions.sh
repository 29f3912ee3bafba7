#!/opt/moodstream/bin/python
"""Stands in for the command of that name: fails while no broker answers at the address after --bootstrap-server."""

import sys

from kafka import KafkaAdminClient

KafkaAdminClient(bootstrap_servers=sys.argv[2], request_timeout_ms=5_000).close()
