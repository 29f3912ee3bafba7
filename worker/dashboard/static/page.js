// The page: it asks for a view, draws it, and asks again when the server says that something is new.
// Whatever people wrote is set as text, never as HTML.

const $ = (id) => document.getElementById(id);
const TIMES = new Set(["span", "to", "pick"]);
const SPANS_S = { "5m": 300, "30m": 1_800, "2h": 7_200, "6h": 21_600, "24h": 86_400, "7d": 604_800 };
const POINTS = 0.02; // a change of an emotion's share that is worth a word
let view = new URLSearchParams(location.search);
let asking = false;
let again = false;
let connected = false;
let last = null;
let colors = null;
let items = new Map(); // the posts in the list, each with its element
const shown = new Map(); // what each part of the page shows, so that only what has changed is drawn again

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const MINUTES = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const SECONDS = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const MOMENTS = new Intl.DateTimeFormat([], { dateStyle: "short", timeStyle: "medium" });
const clock = (ms, seconds = false) => (seconds ? SECONDS : MINUTES).format(ms);
const moment = (ms) => MOMENTS.format(ms);
const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`);
const signed = (value) => (value === null ? "–" : (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(2));
const plain = (field) => (field === "lang" ? "language" : field.replace(/^field\./, ""));
const count = (number, one, many = `${one}s`) => `${number.toLocaleString()} ${number === 1 ? one : many}`;

function color(name) {
  if (colors === null) {
    colors = {};
    for (const each of ["text", "line", "link", "positive", "neutral", "negative", "picked"]) {
      const probe = element("i", { style: `color: var(--${each})` });
      document.body.append(probe);
      colors[each] = getComputedStyle(probe).color;
      probe.remove();
    }
  }
  return colors[name];
}

// Views.

function go(changes) {
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === "") view.delete(name);
    else view.set(name, value);
  }
  history.pushState(null, "", view.size ? `?${view}` : location.pathname);
  refresh();
}

// Look at a stretch of time: the lines stand still and go on showing what is around it.
function pick(from, to) {
  go({ pick: `${Math.round(from)}-${Math.round(to)}`, to: view.get("to") ?? String(Math.max(last.to_ms, to)) });
  $("posts-title").focus({ preventScroll: true });
}

function move(direction) {
  const span = 1_000 * SPANS_S[view.get("span") || "30m"];
  const to = last.to_ms + direction * span;
  go({ to: to > Date.now() - span / 10 ? null : String(to), pick: null }); // nearly now is now
}

async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  const asked = performance.now();
  try {
    const answer = await fetch(`/api/view?${view}`);
    if (!answer.ok) notice([[await answer.text(), true]]);
    else {
      draw(await answer.json());
      measure(asked);
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // fetch says so when nobody answers
    connected = false;
    notices();
  } finally {
    asking = false;
    if (again) {
      again = false;
      refresh();
    }
  }
}

// How long the update took, for benchmarks and for the browser's own tools; only the last hundred are kept.
function measure(asked) {
  if (performance.getEntriesByName("update").length >= 100) performance.clearMeasures("update");
  performance.measure("update", { start: asked });
  performance.clearResourceTimings();
}

// Drawing.

function draw(report) {
  last = report;
  $("topic").textContent = report.status.topic;
  document.title = `${report.status.topic} – Moodstream`;
  notices();
  filters(report);
  part("totals", [report.totals, report.status, report.dead_letters], () => totals(report));
  if ($("table").open) part("series", [report.series, report.pick], () => series(report));
  part("emotions", [report.emotions, view.get("emotion")], () => emotions(report));
  part("breakdowns", [report.breakdowns, view.toString()], () => breakdowns(report));
  part("dead", report.dead_letters, () => dead(report));
  // Whoever marks a text to copy it keeps it.
  const marking = !getSelection().isCollapsed && $("posts").contains(getSelection().anchorNode);
  if (!marking) posts(report);
  // The chart measures its texts, which makes the browser lay out what was changed before: last, so only once.
  part("chart", [report.series, report.pick, bounds(report)], () => chart(report));
  document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
}

// Draw a part again if what it shows has changed, and give the focus back to the button that had it.
function part(name, data, work) {
  const state = JSON.stringify(data);
  if (shown.get(name) === state) return;
  shown.set(name, state);
  const key = $(name).contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  work();
  if (key !== undefined) $(name).querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

function notice(entries) {
  const wanted = entries.map(([text, problem]) => `${problem ? "!" : ""}${text}`).join("\n");
  if ($("notices").dataset.text === wanted) return; // a screen reader would say it again
  $("notices").dataset.text = wanted;
  $("notices").replaceChildren(
    ...entries.map(([text, problem]) => element("p", problem ? { class: "problem" } : {}, text)),
  );
}

function notices() {
  const found = [];
  if (!connected) found.push(["The page has lost its server. It tries again by itself.", true]);
  if (last) {
    const { status } = last;
    if (status.problem === "connecting") found.push(["Connecting to Kafka …", false]);
    else if (status.away) found.push([`The broker is away, so nothing new comes in; the page tries again by itself. ${status.problem}`, true]);
    else if (status.problem) found.push([`Nothing new comes in: ${status.problem}`, true]);
    else if (!status.caught_up) found.push(["Reading what the topic still holds …", false]);
    const looking = where(last);
    if (looking) found.push([`You are looking at ${looking}, not at now.`, false]);
    if (last.totals.posts === 0) found.push([nothing(last), false]);
    found.push(...oddities(last).map((text) => [text, false]));
  }
  notice(found);
}

// The time that the page shows, if it is not now.
function where(report) {
  if (report.live) return null;
  const [from, to] = report.pick || [report.from_ms, report.to_ms];
  if (new Date(from).toDateString() !== new Date().toDateString()) return `${moment(from)} to ${moment(to)}`;
  if (to - from === 60_000 && from % 60_000 === 0) return clock(from);
  const fine = to - from < 120_000;
  return `${clock(from, fine)} to ${clock(to, fine)}`;
}

function nothing(report) {
  if ([...view.keys()].some((name) => !TIMES.has(name))) return "No post fits what you chose.";
  if (report.newest_ms === null) return `Nothing yet. Posts appear here as soon as a worker writes to ${report.status.topic}.`;
  return `Nothing in this time. The newest post is from ${moment(report.newest_ms)}.`;
}

function oddities({ status, ahead, fields, totals: sums }) {
  const found = [];
  const versions = Object.entries(status.unreadable);
  if (versions.length) {
    const text = versions.map(([version, number]) => `${number.toLocaleString()} of version ${version}`).join(", ");
    found.push(`Messages of other versions are not shown: ${text}.`);
  }
  if (status.too_old) {
    const hours = (status.keep_s / 3_600).toLocaleString([], { maximumFractionDigits: 1 });
    found.push(`${count(status.too_old, "post is", "posts are")} not shown: older than ${hours} hours. --keep keeps more.`);
  }
  if (ahead) {
    found.push(`${count(ahead, "post is", "posts are")} not shown yet: the time is still to come. A sender's clock is ahead.`);
  }
  const models = fields.model || [];
  if (models.length > 1 && !view.has("model")) {
    const twice = sums.twice ? ` ${count(sums.twice, "post was", "posts were")} labelled by more than one, and each label counts.` : "";
    found.push(`${models.length} models write to this topic: ${models.slice(0, 5).join(", ")}.${twice} Choose one under “model” to see it alone.`);
  }
  return found;
}

function filters(report) {
  $("span").value = view.get("span") || "30m";
  $("clear").hidden = [...view.keys()].every((name) => name === "span");
  $("later").disabled = !view.has("to");
  $("pause").textContent = report.live ? "Pause" : "Back to now";
  const names = Object.keys(report.fields).filter((name) => name !== "model" || report.fields.model.length > 1);
  for (const name of view.keys()) if (!TIMES.has(name) && !names.includes(name)) names.push(name);
  if ($("fields").contains(document.activeElement) && document.activeElement.tagName === "SELECT") return; // it may be open
  part("fields", [names, report.fields, report.status.keep_s, view.toString()], () => {
    const spans = Object.values(SPANS_S);
    [...$("span").options].forEach((option, place) => {
      option.hidden = place > 0 && spans[place - 1] >= report.status.keep_s && option.value !== $("span").value;
    });
    const own = names.some((name) => name.startsWith("field."));
    const hint = element("span", { class: "hint" }, "To filter by product or source, let the workers keep these fields: ", element("code", {}, "sink.keep"));
    $("fields").replaceChildren(...names.map((name) => filter(name, report.fields[name] || [])), ...(own || !names.length ? [] : [hint]));
  });
}

function filter(name, values) {
  const now = view.get(name);
  const offered = now !== null && !values.includes(now) ? [...values, now] : values;
  const select = element(
    "select",
    { onchange: (event) => go({ [name]: event.target.value }), "data-field": name },
    element("option", { value: "" }, "all"),
    ...offered.map((value) => element("option", { value }, value)),
  );
  select.value = now || "";
  return element("label", now === null ? {} : { class: "chosen" }, `${plain(name)} `, select);
}

function totals({ totals: sums, status, dead_letters: letters }) {
  const share = (number, of) => percent(of ? number / of : null);
  const rows = [
    ["Posts", sums.posts.toLocaleString()],
    ["Mood, −1 to 1", signed(sums.mood)],
    ["Positive", share(sums.positive, sums.judged)],
    ["Negative", share(sums.negative, sums.judged)],
    ["Toxic", share(sums.toxic, sums.measured)],
    ["Posts a second", status.rate.toFixed(1)],
    ["Waiting for a worker", status.lag === null ? "unknown" : status.lag.toLocaleString()],
    ["Dead letters", letters.reduce((sum, row) => sum + row.messages, 0).toLocaleString()],
  ];
  $("totals").replaceChildren(
    ...rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}

// The start and end of the time axis, on the edges of bars: it moves by a whole bar.
function bounds({ from_ms, to_ms, step_s }) {
  const step = 1_000 * step_s;
  return [Math.floor(from_ms / step) * step, Math.ceil(to_ms / step) * step];
}

// The chart library shows times as UTC: it gets local ones.
const local = (ms) => ms - 60_000 * new Date(ms).getTimezoneOffset();
const unlocal = (time) => new Date(typeof time === "string" ? time.replace(" ", "T") : time + 60_000 * new Date(time).getTimezoneOffset()).getTime();

function chart(report) {
  const rows = report.series;
  const step = 1_000 * report.step_s;
  const [first, end] = bounds(report);
  const found = new Map(rows.map((row) => [row.time_ms, row]));
  const starts = Array.from({ length: Math.round((end - first) / step) }, (_, place) => first + place * step);
  const middles = starts.map((ms) => local(ms + step / 2));
  const middle = new Map(starts.map((ms, place) => [ms, middles[place]]));
  // Areas with steps look like bars that touch, and the chart library draws three of them, not hundreds of bars.
  const bars = ["negative", "neutral", "positive"].map((name) => ({
    type: "scatter", mode: "lines", stackgroup: "posts", hoveron: "points", name, x: middles,
    y: starts.map((ms) => found.get(ms)?.[name] || 0), line: { shape: "hvh", width: 0, color: color(name) }, fillcolor: color(name),
  }));
  // A mood moves little: its axis reaches as far as it does, and no less than a quarter.
  const reach = Math.ceil(4 * Math.max(0.25, ...rows.map((row) => Math.abs(row.mood)))) / 4;
  const line = (name, y, axis, hue, format) => ({
    type: "scatter", mode: rows.length > 30 ? "lines" : "lines+markers", marker: { size: 5 }, name, x: rows.map((row) => middle.get(row.time_ms)), y,
    yaxis: axis, line: { color: color(hue), width: 2 }, hovertemplate: `%{y:${format}}`, showlegend: false,
  });
  const traces = [
    ...bars,
    line("mood", rows.map((row) => row.mood), "y2", "link", "+.2f"),
    line("toxic", rows.map((row) => row.toxic), "y3", "negative", ".1%"),
  ];
  // Margins and labels that need not be measured, which takes the chart library long.
  const labels = { tickangle: 0, ticklabeloverflow: "allow", gridcolor: color("line") };
  const axis = (title, domain, more) => ({
    title: { text: title, font: { size: 12 } }, domain, zerolinecolor: color("line"), fixedrange: true, ...labels, ...more,
  });
  const layout = {
    margin: { l: 56, r: 8, t: 36, b: 32, autoexpand: false },
    paper_bgcolor: "transparent", plot_bgcolor: "transparent",
    font: { color: color("text") },
    hovermode: "x",
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, traceorder: "reversed" },
    dragmode: matchMedia("(pointer: coarse)").matches ? false : "select",
    selectdirection: "h", selections: [],
    xaxis: {
      type: "date", range: [local(first), local(end)], anchor: "y3", ...labels,
      nticks: Math.max(3, Math.round($("chart").clientWidth / 130)),
    },
    yaxis: axis("posts", [0.46, 1], { rangemode: "tozero", nticks: 5 }),
    yaxis2: axis("mood", [0.23, 0.41], { range: [-1.1 * reach, 1.1 * reach], tickvals: [-reach, 0, reach] }),
    yaxis3: axis("toxic", [0, 0.18], { rangemode: "tozero", tickformat: ".0%", nticks: 3, minallowed: 0 }),
    shapes: report.pick ? [{
      type: "rect", xref: "x", yref: "paper", x0: local(report.pick[0]), x1: local(report.pick[1]), y0: 0, y1: 1,
      fillcolor: color("picked"), opacity: 0.25, line: { width: 1, color: color("picked") },
    }] : [],
  };
  Plotly.react("chart", traces, layout, { displayModeBar: false, responsive: true, scrollZoom: false, doubleClick: false }).then((drawn) => {
    if (drawn.dataset.ready) return;
    drawn.dataset.ready = "yes";
    drawn.on("plotly_click", ({ points }) => {
      const at = unlocal(points[0].x) - 500 * last.step_s;
      pick(at, at + 1_000 * last.step_s);
    });
    drawn.on("plotly_selected", (event) => {
      if (!event?.range?.x) return;
      const width = 1_000 * last.step_s;
      const [from, to] = event.range.x.map(unlocal).sort((a, b) => a - b);
      pick(Math.floor(from / width) * width, Math.ceil(to / width) * width);
    });
  });
}

const pickBar = (row) => pick(row.time_ms, row.time_ms + 1_000 * last.step_s);

function series(report) {
  $("series").replaceChildren(
    head("From", "Posts", "Positive", "Neutral", "Negative", "Mood", "Toxic"),
    element("tbody", {}, ...report.series.toReversed().map((row) =>
      element("tr", {},
        element("td", {}, button(`s${row.time_ms}`, moment(row.time_ms), report.pick?.[0] === row.time_ms, () => pickBar(row))),
        ...[row.posts, row.positive, row.neutral, row.negative].map((number) => cell(number.toLocaleString())),
        cell(signed(row.mood)), cell(percent(row.toxic))))),
  );
}

function head(...names) {
  return element("thead", {}, element("tr", {}, ...names.map((name, place) =>
    element("th", place ? { scope: "col", class: "number" } : { scope: "col" }, name))));
}

const cell = (text, more = "") => element("td", { class: `number ${more}` }, text);

function button(key, text, pressed, work) {
  return element("button", { type: "button", class: "value", "data-key": key, "aria-pressed": String(pressed), onclick: work }, text);
}

function emotions(report) {
  const points = (value) => `${value > 0 ? "+" : "−"}${Math.abs(Math.round(100 * value))}`;
  const known = report.emotions.some((row) => row.change !== null);
  const rising = report.emotions.filter((row) => row.change >= POINTS).sort((a, b) => b.change - a.change).slice(0, 3);
  const text = rising.map((row) => `${row.emotion} (${points(row.change)} points)`).join(", ");
  $("rising").textContent = !known ? "Too few posts to say what is rising." : text ? `Rising: ${text}.` : "Nothing is rising.";
  $("emotions").replaceChildren(
    head("Emotion", "Share", "Posts", "Change"),
    element("tbody", {}, ...report.emotions.map((row) => element("tr", {},
      element("td", {}, value("emotion", row.emotion)),
      element("td", { class: "number share", style: `--share: ${(100 * row.share).toFixed(1)}%` }, percent(row.share)),
      cell(row.posts.toLocaleString()),
      cell(row.change === null ? "–" : Math.abs(row.change) < 0.005 ? "0" : `${row.change > 0 ? "▲" : "▼"} ${points(row.change)}`)))),
  );
}

// A value that filters, or no longer filters, when it is selected.
function value(name, text) {
  const chosen = view.get(name) === text;
  return button(`${name}=${text}`, text, chosen, () => go({ [name]: chosen ? null : text }));
}

function breakdowns(report) {
  const mood = (number) => (number === null || Math.abs(number) < 0.05 ? "" : number > 0 ? "positive" : "negative");
  $("breakdowns").replaceChildren(
    ...Object.entries(report.breakdowns).filter(([name, rows]) => rows.length > (name === "model" ? 1 : 0)).map(([name, rows]) =>
      element("section", {}, element("h2", {}, `By ${plain(name)}`),
        element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `By ${plain(name)}` },
          element("table", { "data-field": name }, head(plain(name), "Posts", "Mood", "Toxic"),
            element("tbody", {}, ...rows.map((row) =>
              element("tr", {}, element("td", {}, value(name, row.value)),
                cell(row.posts.toLocaleString()), cell(signed(row.mood), mood(row.mood)), cell(percent(row.toxic))))))))),
  );
}

function dead(report) {
  const rows = report.dead_letters;
  $("dead").replaceChildren(
    head("Reason", "Messages"),
    element("tbody", {}, ...(rows.length ? rows : [{ reason: "none", messages: 0 }]).map((row) =>
      element("tr", {}, element("td", {}, row.reason, ...(row.message ? [element("div", { class: "hint" }, row.message)] : [])), cell(row.messages.toLocaleString())))),
  );
}

function marked(text, ranges) {
  const letters = Array.from(text); // the ranges count code points
  const parts = [];
  let at = 0;
  for (const [start, end] of ranges || []) {
    if (start < at) continue;
    parts.push(letters.slice(at, start).join(""), element("mark", {}, letters.slice(start, end).join("")));
    at = end;
  }
  return [...parts, letters.slice(at).join("")];
}

function posts(report) {
  const looking = where(report);
  const title = looking ? `Posts, ${looking}` : "Newest posts";
  if ($("posts-title").textContent !== title) $("posts-title").textContent = title;
  $("no-text").hidden = report.totals.posts === 0 || report.totals.texts > 0;
  const made = new Map();
  for (const post of report.posts) {
    const state = JSON.stringify(post);
    made.set(state, items.get(state) || item(post));
  }
  for (const [state, shown] of items) if (!made.has(state)) shown.remove();
  items = made;
  let at = $("posts").firstChild;
  for (const each of made.values()) {
    if (each === at) at = at.nextSibling;
    else $("posts").insertBefore(each, at);
  }
}

function item(post) {
  const tone = ["positive", "negative"].includes(post.sentiment) ? post.sentiment : "neutral";
  const about = [
    post.emotion, post.toxic ? (post.toxicity === null ? "toxic" : `toxic ${percent(post.toxicity)}`) : null, post.lang,
    ...Object.entries(post.fields).map(([name, text]) => `${name}: ${text}`),
  ].filter(Boolean).join(" · ");
  return element("li", {},
    element("div", { class: "about" }, element("time", { datetime: new Date(post.time_ms).toISOString() }, moment(post.time_ms)), " ",
      element("span", { class: `label ${tone}` }, post.sentiment || "no sentiment"), ` ${about}`),
    ...(post.text === null ? [] : [element("div", { dir: "auto" }, ...marked(post.text, post.marks))]));
}

$("span").addEventListener("change", (event) => go({ span: event.target.value === "30m" ? null : event.target.value, pick: null }));
$("earlier").addEventListener("click", () => last && move(-1));
$("later").addEventListener("click", () => last && move(1));
$("pause").addEventListener("click", () => last && go(last.live ? { to: String(last.to_ms) } : { to: null, pick: null }));
$("clear").addEventListener("click", () => {
  go(Object.fromEntries([...view.keys()].filter((name) => name !== "span").map((name) => [name, null])));
});
$("table").addEventListener("toggle", () => last && draw(last));
$("filters").addEventListener("submit", (event) => event.preventDefault());
addEventListener("popstate", () => {
  view = new URLSearchParams(location.search);
  refresh();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  colors = null;
  shown.delete("chart");
  if (last) draw(last);
});

const stream = new EventSource("/events");
stream.addEventListener("open", () => {
  connected = true;
  refresh();
});
stream.addEventListener("error", () => {
  connected = false;
  notices();
});
stream.addEventListener("changed", () => {
  if (!document.hidden) refresh();
});
document.addEventListener("visibilitychange", () => document.hidden || refresh());
