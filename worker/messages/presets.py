"""Presets of `source.preset`: where things lie in messages of well-known shapes.

Sources: the envelopes of Kafka Connect's JsonConverter and of Debezium 3 (change events, and their flat form
after ExtractNewRecordState); Mastodon's statuses and streaming events; Bluesky's `app.bsky.feed.post` as
Jetstream and the API give it; Reddit's listings; posts of the X API v2 and v1.1; reviews as App Store
Connect, Apple's feeds and Google Play's Developer API give them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from worker.errors import DecodeError
from worker.messages.body import parse_json

UNAVAILABLE = "__debezium_unavailable_value"
"""What Debezium writes for a large column that an update left as it was."""


class Verdict(Enum):
    """What an envelope may say besides a message."""

    DROPPED = "dropped"
    """Nothing to label: it is counted as filtered."""
    DELETED = "deleted"
    """The row of this key is deleted: a tombstone."""


@dataclass(frozen=True, slots=True)
class Preset:
    """Where things lie in messages of one shape.

    The fields are expressions as in the settings. `unwrap` returns the object to which they apply, and
    `envelope` names the fields around it that may hold the text; `html` says that the texts are HTML;
    `filter` is one more filter beside the user's.
    """

    text: str = "text"
    time: str | None = None
    id: str | None = None
    lang: str | None = None
    filter: str | None = None
    html: bool = False
    unwrap: Callable[[object], object] | None = None
    envelope: tuple[str, ...] = ()


def _connect(body: object) -> object:
    """Unwrap `schema` and `payload` of Kafka Connect."""
    if not isinstance(body, Mapping) or not {"schema", "payload"} <= body.keys():
        return body
    return Verdict.DELETED if body["payload"] is None else body["payload"]


def _debezium(body: object) -> object:
    """Unwrap a change event to the row after the change, with `__op`, `__table` and `__source_ts_ms`.

    A value that the event leaves out is taken from the row before, where that has it.
    """
    event = _connect(body)
    if not isinstance(event, Mapping):
        return event
    if event.get("__deleted") in ("true", True):
        return Verdict.DELETED
    if "op" not in event or event.keys().isdisjoint({"after", "before"}):
        # A flat row, a truncation or a message of the log.
        return Verdict.DROPPED if event.get("op") in ("t", "m") else event
    if event["op"] == "d":
        return Verdict.DELETED
    after, before = _row(event.get("after")), _row(event.get("before"))
    if after is None:
        return Verdict.DROPPED
    row = {
        name: before[name] if value == UNAVAILABLE and before and name in before else value
        for name, value in after.items()
    }
    row.setdefault("__op", event["op"])
    source = event.get("source")
    if isinstance(source, Mapping):
        row.setdefault("__table", source.get("table") or source.get("collection"))
        row.setdefault("__source_ts_ms", source.get("ts_ms"))
    return row


def _row(value: object) -> Mapping[str, object] | None:
    """Return a row. The connector for MongoDB writes it as a string with JSON."""
    value = _parsed(value)
    return value if isinstance(value, Mapping) else None


def _parsed(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_json(value.encode("utf-8", "surrogatepass"))
    except DecodeError:
        return value


def _mastodon(body: object) -> object:
    """Unwrap an event of the streaming API, whose payload is a string with JSON."""
    if not isinstance(body, Mapping) or not isinstance(body.get("event"), str) or "payload" not in body:
        return body
    if body["event"] not in ("update", "status.update"):
        return Verdict.DROPPED
    return _parsed(body["payload"])


def _reddit(body: object) -> object:
    """Unwrap an element of a listing. A text that is gone is no text."""
    if not isinstance(body, Mapping):
        return body
    data = body.get("data")
    post = {**body, **data} if isinstance(data, Mapping) and isinstance(body.get("kind"), str) else dict(body)
    for name in ("selftext", "body"):
        if post.get(name) in ("[deleted]", "[removed]"):
            post[name] = None
    return Verdict.DROPPED if post.get("body", "") is None and not post.get("title") else post


def _x(body: object) -> object:
    """Unwrap `data` of a post. A repost, which is cut after 280 characters, gets the text of its original."""
    if not isinstance(body, Mapping):
        return body
    data = body.get("data")
    post = {**body, **data} if isinstance(data, Mapping) else dict(body)
    original = post.get("retweeted_status")
    if not isinstance(original, Mapping):
        original = _reposted(post)
    if original is not None:
        for name in ("text", "full_text", "note_tweet", "extended_tweet"):
            post[name] = original.get(name)
    return post


def _reposted(post: Mapping[str, object]) -> Mapping[str, object] | None:
    """Find the original of a repost in `includes`."""
    referenced, includes = post.get("referenced_tweets"), post.get("includes")
    if not isinstance(referenced, list) or not isinstance(includes, Mapping):
        return None
    wanted = [
        item.get("id") for item in referenced if isinstance(item, Mapping) and item.get("type") == "retweeted"
    ]
    included = includes.get("tweets")
    for other in included if isinstance(included, list) else ():
        if isinstance(other, Mapping) and other.get("id") is not None and other["id"] in wanted:
            return other
    return None


PRESETS: dict[str, Preset] = {
    "connect": Preset(unwrap=_connect, envelope=("payload",)),
    "debezium": Preset(time="__source_ts_ms", unwrap=_debezium, envelope=("payload", "before", "after")),
    "mastodon": Preset(
        text="reblog.content | content",
        time="created_at",
        id="uri | id",
        lang="language | reblog.language",
        html=True,
        unwrap=_mastodon,
        envelope=("payload",),
    ),
    "bluesky": Preset(
        text="commit.record.text | record.text | text",
        time="commit.record.createdAt | record.createdAt | createdAt | time_us",
        id="uri || join('', ['at://', did, '/', commit.collection, '/', commit.rkey])",
        lang="commit.record.langs[0] || record.langs[0] || langs[0]",
        filter="(!kind && !commit) || "
        "(commit.collection == 'app.bsky.feed.post' && commit.operation != 'delete')",
    ),
    "reddit": Preset(
        text="title, selftext | body",
        time="created_utc",
        id="name | id",
        unwrap=_reddit,
        envelope=("data",),
    ),
    "x": Preset(
        text="note_tweet.text | extended_tweet.full_text | full_text | text",
        time="created_at | timestamp_ms",
        id="id_str | id",
        lang="lang",
        unwrap=_x,
        envelope=("data", "includes", "retweeted_status"),
    ),
    "app_store": Preset(
        text="attributes.title | title.label | title, "
        "attributes.body | content.label | review | body | text | content",
        time="attributes.createdDate | updated.label | date | updated",
        id="id.label | id",
    ),
    "google_play": Preset(
        text="comments.0.userComment.text | content | text",
        time="comments.0.userComment.lastModified.seconds | at | date",
        id="reviewId | id",
        lang="comments.0.userComment.reviewerLanguage | lang",
    ),
    "product_review": Preset(
        text="title | summary | headline | review_title | review_headline | Title, "
        "text | reviewText | review_text | review_body | body | content | review | comment | ReviewText",
        time="timestamp | created_at | createdAt | date | unixReviewTime | review_date | SubmissionTime",
        id="review_id | reviewId | id | Id",
        lang="lang | language | locale",
        html=True,
    ),
}
"""All presets by their names; `source.preset` in worker/settings/groups.py lists the same."""
