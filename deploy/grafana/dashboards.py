"""The two Grafana dashboards, as typed source; `make dashboards` writes their JSON.

*Mood* is for the analyst and reads ClickHouse; *Worker* is for the operator and reads Prometheus. A test
compares the JSON with this file and runs every query.
"""

# ruff: noqa: S608 - the queries are put together from the texts of this file

import sys
from pathlib import Path
from typing import Any, Self

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import GraphDrawStyle, StackingMode
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DataSourceRef,
    DynamicConfigValue,
    VariableOption,
)

FOLDER = Path(__file__).parent / "dashboards"
CLICKHOUSE = DataSourceRef(type_val="grafana-clickhouse-datasource", uid="clickhouse")
PROMETHEUS = DataSourceRef(type_val="prometheus", uid="prometheus")

TIME_SERIES, TABLE = 0, 1
"""Formats of the ClickHouse plugin's answer."""

_SENTIMENT = {"positive": "#3d9970", "neutral": "#8a8f98", "negative": "#d1495b"}
_FILTERS = ("product", "source", "lang")
_CHOSEN = " AND ".join(f"{name} IN (${{{name}:singlequote}})" for name in _FILTERS)
_WINDOW = "window >= toStartOfMinute($__fromTime) AND window <= $__toTime"

Panel = Any
"""A panel builder. The SDK has no common type for them that carries `title` and `span`."""


class Sql(Dataquery):
    """A query of the ClickHouse plugin, for which the SDK has no class of its own."""

    def __init__(self, sql: str, form: int) -> None:
        self.sql, self.form = sql, form

    def to_json(self) -> dict[str, object]:
        """The query as the plugin keeps it in a dashboard."""
        return {
            "refId": "A",
            "datasource": CLICKHOUSE,
            "editorType": "sql",
            "rawSql": self.sql,
            "format": self.form,
            "queryType": "timeseries" if self.form == TIME_SERIES else "table",
        }


class SqlQuery(Builder[Dataquery]):
    """Builds an `Sql`."""

    def __init__(self, sql: str, form: int = TABLE) -> None:
        self._query = Sql(sql, form)

    def build(self) -> Dataquery:
        """The query."""
        return self._query


class Board:
    """A dashboard under construction."""

    def __init__(self, uid: str, title: str, about: str) -> None:
        self.built = (
            dashboard.Dashboard(title)
            .uid(uid)
            .description(about)
            .tags(["moodstream"])
            .timezone("browser")
            .refresh("10s")
            .time("now-30m", "now")
            .readonly()
        )

    def row(self, title: str) -> Self:
        """Start a row of panels."""
        self.built.with_row(dashboard.Row(title))
        return self

    def panel(self, panel: Panel, title: str, about: str, width: int, height: int = 8) -> Self:
        """Add a panel; `width` is of 24 columns."""
        self.built.with_panel(panel.title(title).description(about).span(width).height(height))
        return self


def sql_lines(sql: str, *, stacked: bool = False) -> Panel:
    """A line for each column of a query whose first column is `time`."""
    panel = timeseries.Panel().datasource(CLICKHOUSE).with_target(SqlQuery(sql, TIME_SERIES))
    return _stacked(panel) if stacked else panel.line_width(2)


def _stacked(panel: Panel) -> Panel:
    return (
        panel.draw_style(GraphDrawStyle.BARS)
        .fill_opacity(80)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    )


def sql_stat(sql: str, unit: str = "short") -> Panel:
    """One number."""
    return stat.Panel().datasource(CLICKHOUSE).unit(unit).with_target(SqlQuery(sql))


def sql_table(sql: str) -> Panel:
    """The rows of a query."""
    return table.Panel().datasource(CLICKHOUSE).with_target(SqlQuery(sql))


def _coloured(panel: Panel) -> Panel:
    for name, colour in _SENTIMENT.items():
        fixed = DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": colour})
        panel = panel.override_by_name(name, [fixed])
    return panel


def _variable(name: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(name)
        .datasource(CLICKHOUSE)
        .query(f"SELECT DISTINCT {name} FROM moodstream.minutes ORDER BY {name}")
        .multi(True)
        .include_all(True)
        .current(VariableOption(text="All", value="$__all", selected=True))
    )


_MINUTES = f"FROM moodstream.minutes WHERE {_WINDOW} AND {_CHOSEN}"
_POSTS = f"FROM moodstream.posts WHERE event_time >= $__fromTime AND event_time <= $__toTime AND {_CHOSEN}"
_BY_TIME = "GROUP BY time ORDER BY time"
_UNREAD = "posts in a language that the pack does not read"


def _mean_of(column: str) -> str:
    """Return the mean over the posts that the pack reads; null where there are none."""
    return f"sum({column}) / nullIf(sum(messages), 0)"


def mood() -> Dashboard:
    """What people feel: for whoever watches a product or a brand."""
    board = Board("moodstream-mood", "Mood", "How people feel, from the labelled posts in ClickHouse.")
    for name in _FILTERS:
        board.built.with_variable(_variable(name))
    _now(board.row("Now"))
    _over_time(board.row("Over time"))
    board.row("By product, source and language")
    for name in _FILTERS:
        rows = sql_table(
            f"SELECT {name}, sum(messages) AS posts, round({_mean_of('mood_sum')}, 2) AS mood, "
            f"round({_mean_of('toxic')}, 3) AS toxic, sum(unsupported) AS unread {_MINUTES} GROUP BY {name} "
            "ORDER BY posts + unread DESC LIMIT 50"
        )
        board.panel(rows, f"By {name}", f"Posts, mood, share of toxic ones, and {_UNREAD}, by {name}.", 8)
    board.row("Posts")
    newest = sql_table(
        "SELECT event_time AS time, product, source, lang, supported, sentiment, emotion, "
        f"round(toxicity, 2) AS toxic, toxic_words, text {_POSTS} ORDER BY event_time DESC LIMIT 100"
    )
    board.panel(newest, "Newest posts", "The text is there only where sink.include_text is on.", 24, 10)
    return board.built.build()


def _now(board: Board) -> None:
    def share(of: str, name: str) -> str:
        return f"SELECT {_mean_of(of)} AS {name} {_MINUTES} HAVING sum(messages) > 0"

    board.panel(sql_stat(f"SELECT sum(messages) AS posts {_MINUTES}"), "Posts", "In the time shown.", 5, 4)
    mean = sql_stat(share("mood_sum", "mood")).decimals(2)
    board.panel(mean, "Mood", "Mean of positive less negative, -1 to 1.", 5, 4)
    board.panel(sql_stat(share("negative", "share"), "percentunit"), "Negative", "Share of the posts.", 5, 4)
    toxic = sql_stat(share("toxic", "share"), "percentunit")
    board.panel(toxic, "Toxic", "Share of the posts that are called toxic.", 5, 4)
    unread = sql_stat(f"SELECT sum(unsupported) AS unread {_MINUTES}")
    board.panel(unread, "Not read", f"{_UNREAD.capitalize()}: they count nowhere else.", 4, 4)


def _over_time(board: Board) -> None:
    sentiment = "sum(positive) AS positive, sum(neutral) AS neutral, sum(negative) AS negative"
    bars = sql_lines(f"SELECT window AS time, {sentiment} {_MINUTES} {_BY_TIME}", stacked=True)
    board.panel(_coloured(bars), "Sentiment", "Posts a minute.", 12)
    mean = sql_lines(f"SELECT window AS time, {_mean_of('mood_sum')} AS mood {_MINUTES} {_BY_TIME}")
    board.panel(mean.min(-1).max(1), "Mood", "Mean of positive less negative, a minute.", 12)
    emotions = sql_lines(
        "SELECT window AS time, key AS emotion, sum(value) AS posts FROM (SELECT window, "
        "arrayJoin(CAST(emotions, 'Array(Tuple(key String, value UInt64))')) AS pair, "
        f"pair.key AS key, pair.value AS value {_MINUTES}) GROUP BY time, emotion ORDER BY time",
        stacked=True,
    )
    board.panel(emotions, "Emotions", "Posts a minute by group of emotions.", 12)
    toxicity = sql_lines(
        f"SELECT window AS time, {_mean_of('toxicity_sum')} AS toxicity {_MINUTES} {_BY_TIME}"
    )
    board.panel(toxicity.min(0).max(1), "Toxicity", "Mean toxicity a minute, 0 to 1.", 12)


def prom(*queries: tuple[str, str], unit: str = "short") -> Panel:
    """A line for each series of each (PromQL, legend)."""
    panel = timeseries.Panel().datasource(PROMETHEUS).unit(unit).line_width(2)
    for number, (expression, legend) in enumerate(queries):
        query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(chr(ord("A") + number))
        panel = panel.with_target(query)
    return panel


def _quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket[$__rate_interval])))", f"p{q * 100:g}")
        for q in (0.5, 0.95, 0.99)
    )


def _mean(metric: str) -> str:
    return f"sum(rate({metric}_sum[$__rate_interval])) / sum(rate({metric}_count[$__rate_interval]))"


def _rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))"


def _share(metric: str, by: str, where: str) -> str:
    """What part of a counter's rise each value of the label `by` has; `where` selects the whole."""
    return f"{_rate(metric, by, where)} / scalar(sum(rate({metric}{where}[$__rate_interval])))"


def _of_workers(expression: str) -> str:
    """Only the workers' own: any scraped process has metrics with these names."""
    return f"{expression} and on (job, instance) moodstream_model_info"


_SECONDS = "moodstream_stage_duration_seconds"
_LABELS = "moodstream_labels_total"
_IN_TURN, _INSIDE = "poll|batch_wait|decode|classify|encode", "language|tokenise|infer|commit"


def _flow_panels(board: Board) -> None:
    board.panel(
        prom((_rate("moodstream_messages_total", "outcome"), "{{outcome}}"), unit="reqps"),
        "Messages a second",
        "Committed messages, by what became of them.",
        8,
    )
    board.panel(
        prom(("sum by (topic, partition) (moodstream_lag_messages)", "{{topic}}-{{partition}}")),
        "Lag",
        "Messages between the position and the end, by partition.",
        8,
    )
    board.panel(
        prom(*_quantiles("moodstream_end_to_end_latency_seconds"), unit="s"),
        "Latency",
        "From the record's timestamp to its commit.",
        8,
    )


def _stage_panels(board: Board) -> None:
    stages = _rate(f"{_SECONDS}_sum", "stage", f'{{stage=~"{_IN_TURN}"}}')
    board.panel(
        _stacked(prom((stages, "{{stage}}"), unit="percentunit")),
        "Where the time goes",
        "Steps that follow one another, in seconds a second, all workers together. A worker that only polls "
        "has nothing to do; one that never polls is at its limit.",
        8,
    )
    parts = _rate(f"{_SECONDS}_sum", "stage", f'{{stage=~"{_INSIDE}"}}')
    board.panel(
        prom((parts, "{{stage}}"), unit="percentunit"),
        "Inside classify, and commits",
        "The parts of classify, and the commits beside it, in seconds a second. Threads add up.",
        8,
    )
    slowest = f"histogram_quantile(0.95, {_rate(f'{_SECONDS}_bucket', 'le, stage')})"
    board.panel(
        prom((slowest, "{{stage}}"), unit="s"),
        "Time of a stage",
        "The 95th percentile, for one window; of infer for one forward pass.",
        8,
    )


def _batch_panels(board: Board) -> None:
    board.panel(
        prom((_mean("moodstream_batch_messages"), "messages"), (_mean("moodstream_batch_tokens"), "tokens")),
        "Size of a micro-batch",
        "Mean messages and tokens in a forward pass.",
        8,
    )
    board.panel(
        prom((_mean("moodstream_batch_padding_ratio"), "padding"), unit="percentunit"),
        "Padding",
        "Mean share of a micro-batch that is padding.",
        8,
    )
    board.panel(
        prom(("sum(rate(moodstream_text_tokens_total[$__rate_interval]))", "tokens")),
        "Tokens a second",
        "Tokens of the labelled messages, without padding.",
        8,
    )


def _delivery_panels(board: Board) -> None:
    board.panel(
        prom((_rate("moodstream_transactions_total", "outcome"), "{{outcome}}"), unit="ops"),
        "Transactions",
        "Checkpoints a second, by how they ended.",
        8,
    )
    board.panel(
        prom(("sum by (instance) (increase(moodstream_rebalances_total[5m]))", "{{instance}}")),
        "Rebalances",
        "Changes of the assigned partitions in five minutes.",
        8,
    )
    letters = "sum by (stage, reason) (increase(moodstream_dead_letters_total[5m]))"
    board.panel(
        prom((letters, "{{stage}}: {{reason}}")), "Dead letters", "In five minutes, by where and why.", 8
    )


def _label_panels(board: Board) -> None:
    sentiment = prom((_share(_LABELS, "label", '{task="sentiment"}'), "{{label}}"), unit="percentunit")
    board.panel(_coloured(sentiment), "Sentiment", "Share of the labelled messages, by label.", 6)
    emotion = _share(_LABELS, "label", '{task="emotion"}')
    board.panel(
        prom((f"topk(8, {emotion})", "{{label}}"), unit="percentunit"),
        "Emotion",
        "Share of the labelled messages whose strongest emotion this is; the eight most frequent.",
        6,
    )
    toxic = f'sum(rate({_LABELS}{{task="toxicity", label="toxic"}}[$__rate_interval]))'
    toxic += f' / sum(rate({_LABELS}{{task="toxicity"}}[$__rate_interval]))'
    board.panel(prom((toxic, "toxic"), unit="percentunit"), "Toxic", "Share of the labelled messages.", 6)
    languages = f"topk(8, {_rate('moodstream_languages_total', 'language')})"
    board.panel(
        prom((languages, "{{language}}"), unit="reqps"),
        "Languages",
        "Labelled messages a second; the eight most frequent. Unknown: neither the sender nor "
        "language.detect has named it.",
        6,
    )


def _process_panels(board: Board) -> None:
    board.panel(
        prom((_of_workers("rate(process_cpu_seconds_total[$__rate_interval])"), "{{instance}}")),
        "CPU",
        "Cores that each worker uses.",
        8,
    )
    board.panel(
        prom((_of_workers("process_resident_memory_bytes"), "{{instance}}"), unit="bytes"),
        "Memory",
        "Resident memory of each worker.",
        8,
    )
    board.panel(
        prom((_of_workers("process_open_fds"), "{{instance}}")),
        "Open files",
        "Files and connections that each worker has open.",
        8,
    )


def worker() -> Dashboard:
    """How the workers do: for whoever runs them."""
    board = Board("moodstream-worker", "Worker", "How the workers do, from Prometheus.")
    _flow_panels(board.row("Flow"))
    _stage_panels(board.row("Time"))
    _batch_panels(board.row("Batches"))
    _delivery_panels(board.row("Delivery"))
    _label_panels(board.row("Labels and languages"))
    _process_panels(board.row("Process"))
    return board.built.build()


def generated() -> dict[str, str]:
    """File name and JSON text of each dashboard."""
    return {
        f"{name}.json": JSONEncoder(sort_keys=True, indent=2).encode(made) + "\n"
        for name, made in (("mood", mood()), ("worker", worker()))
    }


def main() -> int:
    """Write the JSON files."""
    for name, text in generated().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
