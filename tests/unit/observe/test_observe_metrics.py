"""The Prometheus figures: their names, and that they count what happened."""

from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from worker.observe.metrics import STAGES, Metrics, resident_memory_bytes
from worker.types import (
    Failure,
    Filtered,
    HeadResult,
    Prediction,
    Record,
    SpanResult,
    Tombstone,
    TopicPartition,
)

NOW = 1_700_000_000.0


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(clock=lambda: NOW)


def value(metrics: Metrics, name: str, /, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"moodstream_{name}", labels)


def record(age_s: float | None) -> Record:
    timestamp_ms = -1 if age_s is None else int((NOW - age_s) * 1000)
    return Record("posts", 0, 1, timestamp_ms, None, b"x")


def prediction(sentiment: str, emotion: str) -> Prediction:
    heads = {
        "sentiment": HeadResult(sentiment, 0.9, {sentiment: 0.9}),
        "emotion": HeadResult(emotion, 0.4, {emotion: 0.4}, ()),
    }
    return Prediction(heads, 3, False)


def test_messages_by_outcome_labels_and_dead_letters(metrics: Metrics) -> None:
    metrics.message(record(2), prediction("positive", "joy"))
    metrics.message(record(2), prediction("positive", "love"))
    metrics.message(record(2), Tombstone())
    metrics.message(record(2), Filtered())
    metrics.message(record(2), Failure("decode", "not_json", "…", "worker.errors.NotJson"))
    assert value(metrics, "messages_total", outcome="labelled") == 2
    assert value(metrics, "messages_total", outcome="tombstone") == 1
    assert value(metrics, "messages_total", outcome="filtered") == 1
    assert value(metrics, "messages_total", outcome="dead_letter") == 1
    assert value(metrics, "labels_total", task="sentiment", label="positive") == 2
    assert value(metrics, "labels_total", task="emotion", label="joy") == 1
    assert value(metrics, "dead_letters_total", stage="decode", reason="not_json") == 1


def test_what_token_heads_made_of_messages(metrics: Metrics) -> None:
    for spans in (SpanResult(), SpanResult(), SpanResult((), read=True), SpanResult(((0, 4),), read=True)):
        metrics.message(record(2), replace(prediction("positive", "joy"), spans={"toxic_spans": spans}))
    metrics.message(record(2), prediction("positive", "joy"))
    counts = {
        outcome: value(metrics, "spans_messages_total", task="toxic_spans", outcome=outcome)
        for outcome in ("gate_closed", "nothing_marked", "marked")
    }
    assert counts == {"gate_closed": 2, "nothing_marked": 1, "marked": 1}


def test_latency_counts_from_the_records_timestamp(metrics: Metrics) -> None:
    metrics.message(record(2), Tombstone())
    metrics.message(record(-5), Tombstone())
    metrics.message(record(None), Tombstone())
    assert value(metrics, "end_to_end_latency_seconds_count") == 2, "without a timestamp there is no age"
    assert value(metrics, "end_to_end_latency_seconds_sum") == pytest.approx(2), "a clock ahead counts as 0"


def test_a_micro_batch(metrics: Metrics) -> None:
    metrics.micro_batch(rows=4, tokens=75, padded_tokens=100, seconds=0.2)
    assert value(metrics, "batch_messages_sum") == 4
    assert value(metrics, "batch_tokens_sum") == 100
    assert value(metrics, "batch_padding_ratio_sum") == pytest.approx(0.25)
    assert value(metrics, "stage_duration_seconds_sum", stage="infer") == pytest.approx(0.2)


def test_lag_is_shown_for_the_partitions_that_are_ours(metrics: Metrics) -> None:
    metrics.source({TopicPartition("posts", 0): 5, TopicPartition("posts", 1): 7}, rebalances=1)
    metrics.source({TopicPartition("posts", 1): 3}, rebalances=3)
    assert value(metrics, "lag_messages", topic="posts", partition="0") is None
    assert value(metrics, "lag_messages", topic="posts", partition="1") == 3
    assert value(metrics, "rebalances_total") == 3


def test_a_partition_read_from_elsewhere_counts_and_what_retention_removed(metrics: Metrics) -> None:
    metrics.offset_reset("posts", "new_partition", 274)
    metrics.offset_reset("posts", "retention", 50)
    metrics.offset_reset("posts", "retention", 7)
    metrics.dropped(12)
    assert value(metrics, "offset_resets_total", topic="posts", reason="new_partition") == 1
    assert value(metrics, "offset_resets_total", topic="posts", reason="retention") == 2
    assert value(metrics, "removed_messages_total", topic="posts") == 57
    assert value(metrics, "dropped_messages_total") == 12


def test_transactions_corrupt_batches_and_the_model(metrics: Metrics) -> None:
    for outcome in ("committed", "committed", "aborted", "unknown"):
        metrics.transaction(outcome)
    metrics.corrupt_batch("posts")
    metrics.model("compact", "0123456789ab")
    assert value(metrics, "transactions_total", outcome="committed") == 2
    assert value(metrics, "transactions_total", outcome="aborted") == 1
    assert value(metrics, "corrupt_batches_total", topic="posts") == 1
    assert value(metrics, "model_info", name="compact", revision="0123456789ab") == 1


def test_the_text_form_parses_with_one_prefix_and_base_units(metrics: Metrics) -> None:
    for name in STAGES:
        metrics.stage(name, 0.01)
    families = list(text_string_to_metric_families(generate_latest(metrics.registry).decode()))
    assert {
        "moodstream_messages",
        "moodstream_batch_messages",
        "moodstream_batch_tokens",
        "moodstream_batch_padding_ratio",
        "moodstream_stage_duration_seconds",
        "moodstream_end_to_end_latency_seconds",
        "moodstream_lag_messages",
        "moodstream_rebalances",
        "moodstream_transactions",
        "moodstream_dead_letters",
        "moodstream_labels",
        "moodstream_corrupt_batches",
        "moodstream_model_info",
        "moodstream_resident_memory_bytes",
    } <= {family.name for family in families}
    assert all(family.name.startswith("moodstream_") for family in families)
    assert all(family.documentation for family in families)


def test_resident_memory_is_what_the_system_says(metrics: Metrics) -> None:
    there = psutil.Process().memory_info().rss
    assert resident_memory_bytes() == pytest.approx(there, rel=0.05)
    assert value(metrics, "resident_memory_bytes") == pytest.approx(there, rel=0.05)


def test_without_proc_resident_memory_is_the_largest_so_far(tmp_path: Path) -> None:
    there = psutil.Process().memory_info().rss
    assert resident_memory_bytes(tmp_path / "none") >= there * 0.95
