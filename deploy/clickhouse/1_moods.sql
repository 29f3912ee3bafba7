-- Every labelled post once, however often it arrives: event_id is the same for a message that is read again.

CREATE DATABASE IF NOT EXISTS moodstream;

CREATE TABLE IF NOT EXISTS moodstream.moods
(
    event_id         String,
    event_time       DateTime64(3, 'UTC'),
    processed_time   DateTime64(3, 'UTC'),
    received_at      DateTime('UTC') DEFAULT now(),
    product          LowCardinality(String),
    source           LowCardinality(String),
    lang             LowCardinality(String),
    supported        Bool DEFAULT true COMMENT 'false: in a language that the pack does not read',
    sentiment        LowCardinality(String),
    sentiment_score  Float32,
    positive         Float32,
    neutral          Float32,
    negative         Float32,
    emotion          LowCardinality(String),
    emotion_group    LowCardinality(String),
    emotion_score    Float32,
    toxicity         Float32,
    toxic            Bool DEFAULT toxicity >= 0.5 COMMENT 'called toxic by the pack',
    toxic_words      Array(String),
    token_count      UInt32,
    truncated        Bool,
    model            LowCardinality(String),
    source_topic     LowCardinality(String),
    source_partition UInt32,
    source_offset    UInt64,
    text             String
)
ENGINE = ReplacingMergeTree(processed_time)
PARTITION BY toDate(event_time)
ORDER BY event_id
TTL toDateTime(event_time) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1;

-- For questions about single posts. FINAL counts a post once also before ClickHouse has merged its copies.
CREATE VIEW IF NOT EXISTS moodstream.posts AS
SELECT * FROM moodstream.moods FINAL;
