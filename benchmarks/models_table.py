"""The report of benchmarks/models.py as the tables of docs/explanation/models.md."""

from collections.abc import Mapping
from typing import Any

BEGIN, END = "<!-- models-report: begin -->", "<!-- models-report: end -->"

FIGURES = {
    "sst2": ("SST-2 dev", "accuracy"),
    "tweeteval_sentiment": ("TweetEval val", "macro_recall"),
    "goemotions": ("GoEmotions dev", "macro_f1"),
    "toxic_spans": ("toxic spans trial", "span_f1"),
}
"""The figure that stands for each set."""


def replace_between(page: str, text: str) -> str:
    """Put `text` between the two marks of a page. Raises ValueError where they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def render(report: Mapping[str, Any]) -> str:
    """Return all tables and what they were measured on."""
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    how = (
        f"{report['machine']}; {versions}. Medians of {report['rounds']} rounds; {report['texts']} texts a "
        f"round as int8, {report['plain_texts']} of them in transformers. In brackets: the least and the "
        "largest ratio of a round."
    )
    return "\n\n".join([how, _speed(report), _quality(report), _claim(report)])


_COLUMNS = (
    "model",
    "layers x width",
    "parameters",
    "int8 MB",
    "float32 MB",
    "int8 messages/s",
    "times BERT-base",
    "transformers float32 messages/s",
    "times BERT-base",
    "weights",
)


def _speed(report: Mapping[str, Any]) -> str:
    lines = [f"| {' | '.join(_COLUMNS)} |", f"| --- | --- |{' ---: |' * (len(_COLUMNS) - 3)} --- |"]
    for model in report["models"]:
        sizes = model["sizes"]
        plain = model["float32"]
        cells = [
            model["name"],
            f"{sizes['n_layers']} x {sizes['dim']}{_pruned(sizes)}",
            f"{model['parameters'] / 1e6:.1f} M",
            f"{model['int8_bytes'] / 1e6:.1f}",
            f"{model['float_bytes'] / 1e6:.1f}",
            f"{model['int8']['rate']:.0f}",
            _ratio(model["int8"]),
            f"{plain['rate']:.1f}" if plain else "no such shape",
            _ratio(plain) if plain else "-",
            "untrained" if model["cited"] else f"`{model['pack']}`",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _pruned(sizes: Mapping[str, Any]) -> str:
    wide = sizes["n_heads"] * sizes.get("head_dim", sizes["dim"] // sizes["n_heads"])
    parts = [f"{sizes['n_heads']} heads"] if wide != sizes["dim"] else []
    if sizes["hidden_dim"] not in (4 * sizes["dim"], 1200):
        parts.append(f"{sizes['hidden_dim']} columns")
    return f" ({', '.join(parts)})" if parts else ""


def _ratio(summary: Mapping[str, float]) -> str:
    return f"{summary['ratio']:.2f} ({summary['low']:.2f} to {summary['high']:.2f})"


def _quality(report: Mapping[str, Any]) -> str:
    """Ours measured, theirs cited, each with what it is."""
    titles = [title for title, _ in FIGURES.values()]
    lines = [f"| per cent | {' | '.join(titles)} | from |", f"| --- |{' ---: |' * len(titles)} --- |"]
    for model in report["models"]:
        if model["cited"]:
            value, source = model["cited"]["sst2"]
            cells = [f"{value:.1f}", *["-"] * (len(FIGURES) - 1)]
            lines.append(f"| {model['name']} | {' | '.join(cells)} | {source} |")
            continue
        results = report["figures"].get(model["pack"], {})
        cells = [_measured(results.get(data), name) for data, (_, name) in FIGURES.items()]
        origin = "measured, int8" if results else "not measured yet"
        lines.append(f"| {model['name']} | {' | '.join(cells)} | {origin} |")
    return "\n".join(lines)


def _measured(result: Mapping[str, Any] | None, name: str) -> str:
    if result is None or name not in result["figures"]:
        return "-"
    figure = result["figures"][name]
    value, low, high = (100 * figure[part] for part in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def _claim(report: Mapping[str, Any]) -> str:
    """The well-known claim, taken apart, and the same for our packs."""
    models = {model["name"]: model for model in report["models"]}
    bert, distil = models["BERT-base"], models["DistilBERT-base"]
    glue, whole = distil["cited"]["glue"][0], bert["cited"]["glue"][0]
    lines = [
        "| against BERT-base | parameters of the encoder | float32 in transformers | int8 graph | quality |",
        "| --- | --- | --- | --- | --- |",
        "| claimed for DistilBERT-base | 40 % fewer | 60 % faster | - | 97 % |",
    ]
    for model in (distil, *(each for each in report["models"] if not each["cited"])):
        fewer = f"{100 * (1 - model['encoder'] / bert['encoder']):.1f} % fewer"
        if model is distil:
            quality = f"{100 * glue / whole:.1f} %: GLUE {glue} of {whole}, cited, not measured here"
        else:
            quality = _share(report["figures"].get(model["pack"], {}).get("sst2"), bert["cited"]["sst2"][0])
        plain = _faster(model["float32"]) if model["float32"] else "no such shape"
        lines.append(f"| {model['name']} | {fewer} | {plain} | {_faster(model['int8'])} | {quality} |")
    return "\n".join(lines)


def _faster(summary: Mapping[str, float]) -> str:
    return f"{100 * (summary['ratio'] - 1):.0f} % faster"


def _share(result: Mapping[str, Any] | None, whole: float) -> str:
    if result is None:
        return "not measured yet"
    value = 100 * result["figures"]["accuracy"]["value"]
    return f"{100 * value / whole:.1f} %: SST-2 dev {value:.1f}, measured, of {whole}, cited"
