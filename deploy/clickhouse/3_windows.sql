-- Counts and means by minute and by hour, kept long after the posts themselves.
--
-- A view that adds up what is inserted would count a repeated message twice. These views run on a schedule
-- instead: they read the posts with FINAL, only for windows in which a post has arrived lately, and write the
-- whole window again; the newest version of a window replaces the older ones. The emotions of a window are one
-- map, not rows of their own, so that none stays behind when posts are labelled again by another model.
--
-- Posts in a language that the pack does not read are counted as `unsupported` and nowhere else: their labels
-- mean little, and most of them are neutral.

CREATE TABLE IF NOT EXISTS moodstream.mood_by_minute
(
    window          DateTime('UTC'),
    product         LowCardinality(String),
    source          LowCardinality(String),
    lang            LowCardinality(String),
    emotions        Map(LowCardinality(String), UInt64) COMMENT 'posts by emotion_group',
    messages        UInt64 COMMENT 'posts that the pack reads',
    positive        UInt64,
    neutral         UInt64,
    negative        UInt64,
    mood_sum        Float64 COMMENT 'sum of positive - negative, -1 to 1 a post',
    toxicity_sum    Float64,
    toxic           UInt64,
    unsupported     UInt64 COMMENT 'posts in a language that the pack does not read',
    computed_at     DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(window)
ORDER BY (window, product, source, lang)
TTL window + INTERVAL 30 DAY;

CREATE TABLE IF NOT EXISTS moodstream.mood_by_hour AS moodstream.mood_by_minute
ENGINE = ReplacingMergeTree(computed_at)
PARTITION BY toYYYYMM(window)
ORDER BY (window, product, source, lang)
TTL window + INTERVAL 2 YEAR;

CREATE MATERIALIZED VIEW IF NOT EXISTS moodstream.mood_by_minute_writer
REFRESH EVERY 10 SECOND APPEND TO moodstream.mood_by_minute AS
SELECT
    toStartOfMinute(event_time)       AS window,
    product,
    source,
    lang,
    sumMapIf(map(emotion_group, toUInt64(1)), supported) AS emotions,
    countIf(supported)                             AS messages,
    countIf(supported AND sentiment = 'positive')  AS positive,
    countIf(supported AND sentiment = 'neutral')   AS neutral,
    countIf(supported AND sentiment = 'negative')  AS negative,
    sumIf(m.positive - m.negative, supported)      AS mood_sum,
    sumIf(toxicity, supported)                     AS toxicity_sum,
    countIf(supported AND m.toxic)                 AS toxic,
    countIf(NOT supported)                         AS unsupported,
    now64(3, 'UTC')                                AS computed_at
FROM moodstream.moods AS m FINAL
WHERE toStartOfMinute(event_time) IN (
    SELECT DISTINCT toStartOfMinute(event_time)
    FROM moodstream.moods
    WHERE received_at >= now() - INTERVAL 5 MINUTE
)
GROUP BY window, product, source, lang;

-- The hours are sums of their minutes.
CREATE MATERIALIZED VIEW IF NOT EXISTS moodstream.mood_by_hour_writer
REFRESH EVERY 1 MINUTE APPEND TO moodstream.mood_by_hour AS
SELECT
    toStartOfHour(m.window)  AS window,
    product,
    source,
    lang,
    sumMap(m.emotions)       AS emotions,
    sum(m.messages)          AS messages,
    sum(m.positive)          AS positive,
    sum(m.neutral)           AS neutral,
    sum(m.negative)          AS negative,
    sum(m.mood_sum)          AS mood_sum,
    sum(m.toxicity_sum)      AS toxicity_sum,
    sum(m.toxic)             AS toxic,
    sum(m.unsupported)       AS unsupported,
    now64(3, 'UTC')          AS computed_at
FROM moodstream.mood_by_minute AS m FINAL
WHERE toStartOfHour(m.window) IN (
    SELECT DISTINCT toStartOfHour(window)
    FROM moodstream.mood_by_minute
    WHERE computed_at >= now() - INTERVAL 15 MINUTE
)
GROUP BY window, product, source, lang;

-- What dashboards read: one row a window and combination, with the means (null where the pack reads none of the posts).
CREATE VIEW IF NOT EXISTS moodstream.minutes AS
SELECT *, mood_sum / nullIf(messages, 0) AS mood, toxicity_sum / nullIf(messages, 0) AS toxicity
FROM moodstream.mood_by_minute FINAL;

CREATE VIEW IF NOT EXISTS moodstream.hours AS
SELECT *, mood_sum / nullIf(messages, 0) AS mood, toxicity_sum / nullIf(messages, 0) AS toxicity
FROM moodstream.mood_by_hour FINAL;
