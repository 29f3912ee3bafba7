"""The two ways in which a connection fails: nobody there, or refused."""


class BrokerUnavailable(Exception):
    """No broker answers, or none does in time: worth trying again. `str()` is one line for a person."""


class BrokerRefused(Exception):
    """A broker answered and refused (login, TLS, rights): trying again is of no use. `str()` is one line."""
