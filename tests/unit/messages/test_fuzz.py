"""From any bytes and headers to an output or a dead letter and its log line: nothing on that way may fail."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.decode import CANARY, Checker, corpus, inputs
from worker.types import Record


@pytest.mark.parametrize("number", range(len(corpus())))
def test_every_record_of_the_corpus(number: int) -> None:
    with Checker() as checker:
        assert checker.check(corpus()[number], "text") is None


def test_inputs_made_from_the_corpus() -> None:
    with Checker() as checker:
        for record, text_field in inputs(3_000, seed=7):
            assert checker.check(record, text_field) is None, record


KEYS = st.text(st.characters(codec=None, exclude_categories=())) | st.just(CANARY)
BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("text") | KEYS, inner, max_size=3),
    max_leaves=8,
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["content-type", "content-encoding", "ce_id", "ce_source"]) | KEYS,
        st.none() | st.binary(max_size=40),
    ),
    max_size=4,
)


@given(
    value=st.binary() | BODIES.map(lambda body: json.dumps(body).encode()),
    headers=HEADERS,
    timestamp_ms=st.integers(-(2**63), 2**63 - 1),
    offset=st.integers(0, 2**63 - 1),
)
def test_arbitrary_bytes_and_headers(
    value: bytes, headers: list[tuple[str, bytes | None]], timestamp_ms: int, offset: int
) -> None:
    record = Record("posts", 2**31 - 1, offset, timestamp_ms, None, value, tuple(headers))
    with Checker() as checker:
        assert checker.check(record, "text") is None
