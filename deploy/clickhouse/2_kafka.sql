-- From the topic into the table. The consumer sees committed transactions only, which is librdkafka's default.
-- Fields that are not named here are passed over; those that a message lacks become empty.

CREATE TABLE IF NOT EXISTS moodstream.moods_queue
(
    event_id            String,
    event_time_ms       Int64,
    processed_time_ms   Int64,
    product             Nullable(String),
    source              Nullable(String),
    lang                Nullable(String),
    supported           Nullable(Bool),
    sentiment_label     String,
    sentiment_score     Float32,
    sentiment_positive  Float32,
    sentiment_neutral   Float32,
    sentiment_negative  Float32,
    emotion_label       String,
    emotion_group       String,
    emotion_score       Float32,
    toxicity_label      String,
    toxicity_toxic      Float32,
    toxic_spans         Array(Array(UInt32)),
    token_count         UInt32,
    truncated           Bool,
    model               String,
    source_topic        String,
    source_partition    UInt32,
    source_offset       UInt64,
    text                String
)
ENGINE = Kafka
SETTINGS kafka_broker_list = 'kafka:9092',
         kafka_topic_list = 'moods',
         kafka_group_name = 'clickhouse',
         kafka_format = 'JSONEachRow',
         kafka_flush_interval_ms = 1000,
         kafka_handle_error_mode = 'stream';

-- toxic_spans count code points; substringUTF8 counts them as well, from 1.
CREATE MATERIALIZED VIEW IF NOT EXISTS moodstream.moods_reader TO moodstream.moods AS
SELECT
    event_id,
    fromUnixTimestamp64Milli(event_time_ms, 'UTC')     AS event_time,
    fromUnixTimestamp64Milli(processed_time_ms, 'UTC') AS processed_time,
    ifNull(product, '')                                AS product,
    ifNull(source, '')                                 AS source,
    ifNull(lang, '')                                   AS lang,
    ifNull(supported, true)                            AS supported,
    sentiment_label                                    AS sentiment,
    sentiment_score,
    sentiment_positive                                 AS positive,
    sentiment_neutral                                  AS neutral,
    sentiment_negative                                 AS negative,
    emotion_label                                      AS emotion,
    emotion_group,
    emotion_score,
    toxicity_toxic                                     AS toxicity,
    toxicity_label = 'toxic'                           AS toxic,
    if(text = '', [], arrayMap(span -> substringUTF8(text, span[1] + 1, span[2] - span[1]), toxic_spans))
                                                       AS toxic_words,
    token_count,
    truncated,
    model,
    source_topic,
    source_partition,
    source_offset,
    text
FROM moodstream.moods_queue
WHERE length(_error) = 0 AND event_id != '';
