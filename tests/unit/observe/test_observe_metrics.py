"""The Prometheus figures: their names, and that they count what happened."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.parser import text_string_to_metric_families

from worker.heads import SINGLE, TOKENS, Head
from worker.observe.metrics import STAGES, Metrics, resident_memory_bytes
from worker.types import (
    Answer,
    Failure,
    Filtered,
    HeadResult,
    Prediction,
    Record,
    Skipped,
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


class Done(NamedTuple):
    """What became of one message."""

    record: Record
    answer: Answer
    language: str | None = None


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
    answers: list[Answer] = [
        prediction("positive", "joy"),
        prediction("positive", "love"),
        Tombstone(),
        Filtered(),
        Skipped(),
        Failure("decode", "not_json", "…", "worker.errors.NotJson"),
    ]
    metrics.committed([Done(record(2), answer) for answer in answers[:3]])
    metrics.committed([Done(record(2), answer) for answer in answers[3:]])
    assert value(metrics, "messages_total", outcome="labelled") == 2
    assert value(metrics, "messages_total", outcome="tombstone") == 1
    assert value(metrics, "messages_total", outcome="filtered") == 1
    assert value(metrics, "messages_total", outcome="skipped") == 1
    assert value(metrics, "messages_total", outcome="dead_letter") == 1
    assert value(metrics, "labels_total", task="sentiment", label="positive") == 2
    assert value(metrics, "labels_total", task="emotion", label="joy") == 1
    assert value(metrics, "dead_letters_total", stage="decode", reason="not_json") == 1
    assert value(metrics, "text_tokens_total") == 6


def test_every_outcome_is_there_from_the_start(metrics: Metrics) -> None:
    """Prometheus cannot see the rise of a counter that begins at one."""
    for outcome in ("labelled", "dead_letter", "tombstone", "filtered", "skipped"):
        assert value(metrics, "messages_total", outcome=outcome) == 0
    for outcome in ("committed", "aborted", "unknown"):
        assert value(metrics, "transactions_total", outcome=outcome) == 0


_LABELLED = st.builds(prediction, st.sampled_from(["positive", "negative"]), st.sampled_from(["joy", "fear"]))
_ANSWERS = st.one_of(
    _LABELLED,
    st.sampled_from([Tombstone(), Filtered(), Failure("decode", "not_json", "…", "worker.errors.NotJson")]),
)
_TAGS = st.one_of(st.none(), st.sampled_from(["en", "pt-BR", "ENG", "yue", ""]), st.text(max_size=20))


@given(st.lists(st.tuples(_ANSWERS, _TAGS), max_size=30))
def test_the_labels_of_each_task_and_the_languages_add_up_to_the_labelled_messages(
    messages: list[tuple[Answer, str | None]],
) -> None:
    metrics = Metrics(clock=lambda: NOW)
    metrics.committed([Done(record(1), answer, tag) for answer, tag in messages])
    labelled = sum(isinstance(answer, Prediction) for answer, _ in messages)
    assert value(metrics, "messages_total", outcome="labelled") == labelled
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]

    def total(name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in samples
            if sample.name == f"moodstream_{name}" and labels.items() <= sample.labels.items()
        )

    assert total("labels_total", task="sentiment") == labelled
    assert total("labels_total", task="emotion") == labelled
    assert total("languages_total") == labelled
    assert total("messages_total") == len(messages)


def test_a_language_is_its_two_letters_or_other_or_unknown(metrics: Metrics) -> None:
    tags = ["en", "en-US", "ENG", "it", "pt_BR", "yue", "zxx", "<script>", "x" * 10_000, "", None]
    metrics.committed([Done(record(1), prediction("positive", "joy"), tag) for tag in tags])
    counts = {
        sample.labels["language"]: sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "moodstream_languages_total"
    }
    assert counts == {"en": 3, "it": 1, "pt": 1, "other": 4, "unknown": 2}


def test_no_language_of_a_sender_makes_a_series_of_its_own(metrics: Metrics) -> None:
    answer = prediction("positive", "joy")
    tags = [f"{a}{b}{c}" for a in "abcdefghijklm" for b in "nopqrstuvwxyz" for c in ("", "x", "-yz")]
    metrics.committed([Done(record(1), answer, tag) for tag in tags])
    [family] = [family for family in metrics.registry.collect() if family.name == "moodstream_languages"]
    assert len(family.samples) <= 184 + 2  # ISO 639-1, other, unknown


def test_what_token_heads_made_of_messages(metrics: Metrics) -> None:
    spans = (SpanResult(), SpanResult(), SpanResult((), read=True), SpanResult(((0, 4),), read=True))
    answers = [replace(prediction("positive", "joy"), spans={"toxic_spans": found}) for found in spans]
    metrics.committed([Done(record(2), answer) for answer in [*answers, prediction("positive", "joy")]])
    counts = {
        outcome: value(metrics, "spans_messages_total", task="toxic_spans", outcome=outcome)
        for outcome in ("gate_closed", "nothing_marked", "marked")
    }
    assert counts == {"gate_closed": 2, "nothing_marked": 1, "marked": 1}


def test_latency_counts_from_the_records_timestamp(metrics: Metrics) -> None:
    ages = metrics.committed([Done(record(age), Tombstone()) for age in (2, -5, None)])
    assert ages == pytest.approx([2, 0]), "without a timestamp there is no age, a clock ahead counts as 0"
    assert value(metrics, "end_to_end_latency_seconds_count") == 2
    assert value(metrics, "end_to_end_latency_seconds_sum") == pytest.approx(2)


def test_a_micro_batch(metrics: Metrics) -> None:
    metrics.micro_batch(rows=4, tokens=75, padded_tokens=100, seconds=0.2)
    assert value(metrics, "batch_messages_sum") == 4
    assert value(metrics, "batch_tokens_sum") == 100
    assert value(metrics, "batch_padding_ratio_sum") == pytest.approx(0.25)
    assert value(metrics, "stage_duration_seconds_sum", stage="infer") == pytest.approx(0.2)


def test_lag_is_shown_for_the_partitions_that_are_ours(metrics: Metrics) -> None:
    metrics.source({TopicPartition("posts", 0): 5, TopicPartition("posts", 1): 7}, rebalances=1)
    metrics.source({TopicPartition("posts", 1): 3}, rebalances=2)
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


def test_the_labels_of_the_heads_are_counted_from_zero(metrics: Metrics) -> None:
    many = tuple(str(number) for number in range(5_000))
    metrics.model(
        "a",
        "b",
        [
            Head("sentiment", SINGLE, ("negative", "positive")),
            Head("topic", SINGLE, many),
            Head("toxic_spans", TOKENS, ("toxic",)),
        ],
    )
    metrics.committed([Done(record(1), prediction("positive", "joy"))])
    assert value(metrics, "labels_total", task="sentiment", label="negative") == 0
    assert value(metrics, "labels_total", task="sentiment", label="positive") == 1
    assert value(metrics, "labels_total", task="topic", label="7") is None
    assert value(metrics, "spans_messages_total", task="toxic_spans", outcome="marked") == 0


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
        "moodstream_languages",
        "moodstream_text_tokens",
        "moodstream_corrupt_batches",
        "moodstream_model_info",
        "moodstream_resident_memory_bytes",
    } <= {family.name for family in families}
    own = {name for name in (family.name for family in families) if name.startswith("moodstream_")}
    assert {family.name for family in families} - own == PROCESS
    assert all(family.documentation for family in families)


PROCESS = {
    "process_cpu_seconds",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_virtual_memory_bytes",
    "python_info",
}
"""What the client library says about the process."""


def test_the_figures_of_the_process_are_this_process_own(metrics: Metrics) -> None:
    process, get = psutil.Process(), metrics.registry.get_sample_value
    assert get("process_cpu_seconds_total") == pytest.approx(sum(process.cpu_times()[:2]), abs=0.5)
    assert get("process_resident_memory_bytes") == pytest.approx(process.memory_info().rss, rel=0.05)
    assert get("process_start_time_seconds") == pytest.approx(process.create_time(), abs=2)
    assert get("process_open_fds") == pytest.approx(len(list(Path("/proc/self/fd").iterdir())), abs=2)


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "text/plain;version=1.0.0;escaping=allow-utf-8",
        "application/openmetrics-text",
        "application/openmetrics-text;version=1.0.0;escaping=underscores",
    ],
)
def test_no_form_has_created_series(metrics: Metrics, accept: str) -> None:
    encode, _ = choose_encoder(accept)
    metrics.committed([Done(record(1), prediction("positive", "joy"), "en"), Done(record(1), Tombstone())])
    metrics.stage("infer", 0.01)
    metrics.transaction("committed")
    text = encode(metrics.registry).decode()
    assert "moodstream_end_to_end_latency_seconds_bucket" in text
    assert "_created" not in text


def test_resident_memory_is_what_the_system_says(metrics: Metrics) -> None:
    there = psutil.Process().memory_info().rss
    assert resident_memory_bytes() == pytest.approx(there, rel=0.05)
    assert value(metrics, "resident_memory_bytes") == pytest.approx(there, rel=0.05)


def test_without_proc_resident_memory_is_the_largest_so_far(tmp_path: Path) -> None:
    there = psutil.Process().memory_info().rss
    assert resident_memory_bytes(tmp_path / "none") >= there * 0.95
