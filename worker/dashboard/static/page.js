// The page: it asks for a view, draws it, and asks again when the server says that something is new.
// Whatever people wrote is set as text, never as HTML.

const $ = (id) => document.getElementById(id);
const RESERVED = new Set(["span", "to"]);
let view = new URLSearchParams(location.search);
let asking = false;
let again = false;
let connected = false;
let last = null;
let shownFields = "";

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

const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const moment = (ms) => new Date(ms).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
const signed = (value) => (value === null ? "–" : (value >= 0 ? "+" : "−") + Math.abs(value).toFixed(2));
const color = (name) => {
  const probe = element("i", { style: `color: var(--${name})` });
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

function change(name, value) {
  if (value === null || value === "") view.delete(name);
  else view.set(name, value);
  if (name === "span") view.delete("to");
  history.pushState(null, "", view.size ? `?${view}` : location.pathname);
  refresh();
}

async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const answer = await fetch(`/api/view?${view}`);
    if (!answer.ok) notice([[await answer.text(), true]]);
    else draw(await answer.json());
  } catch {
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

function draw(report) {
  last = report;
  $("topic").textContent = report.status.topic;
  document.title = `${report.status.topic} – Moodstream`;
  notices();
  filters(report);
  totals(report);
  sentiment(report);
  lines(report);
  emotions(report);
  breakdowns(report);
  dead(report);
  posts(report);
  document.body.dataset.drawn = String(Number(document.body.dataset.drawn || 0) + 1);
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
    else if (status.problem) found.push([`Nothing new comes in: ${status.problem}`, true]);
    else if (!status.caught_up) found.push(["Reading what the topic still holds …", false]);
    if (!last.live) {
      found.push([`You are looking at ${clock(last.from_ms)} to ${clock(last.to_ms)}, not at now.`, false]);
    }
    if (last.totals.posts === 0) {
      found.push([view.size > (view.has("span") ? 1 : 0) ? "No post fits what you chose." : "Nothing yet.", false]);
    }
    const versions = Object.entries(status.unreadable);
    if (versions.length) {
      const text = versions.map(([version, count]) => `${count} of version ${version}`).join(", ");
      found.push([`Messages of other versions are not shown: ${text}.`, false]);
    }
    if (last.ahead) {
      found.push([`${last.ahead} posts are not shown yet: their time is still to come. A sender's clock is ahead.`, false]);
    }
    if (!Object.keys(last.fields).some((name) => name !== "lang" && name !== "model") && last.totals.posts) {
      found.push(["To filter by product or source, let the worker keep the fields: sink.keep.", false]);
    }
  }
  notice(found);
}

function filters(report) {
  const names = Object.keys(report.fields);
  const chosen = [...view.keys()].filter((name) => !RESERVED.has(name));
  for (const name of chosen) if (!names.includes(name)) names.push(name);
  const state = JSON.stringify([names, report.fields, view.toString()]);
  $("span").value = view.get("span") || "30m";
  $("clear").hidden = !view.size;
  if (state === shownFields || $("fields").contains(document.activeElement)) return;
  shownFields = state;
  $("fields").replaceChildren(
    ...names.map((name) => {
      const values = [...(report.fields[name] || [])];
      const now = view.get(name);
      if (now !== null && !values.includes(now)) values.push(now);
      const select = element(
        "select",
        { onchange: (event) => change(name, event.target.value), "data-field": name },
        element("option", { value: "" }, "all"),
        ...values.map((value) => element("option", { value }, value)),
      );
      select.value = now || "";
      return element("label", {}, `${name} `, select);
    }),
  );
}

function totals({ totals: sums, status, dead_letters: letters }) {
  const share = (count) => (sums.posts ? percent(count / sums.posts) : "–");
  const rows = [
    ["Posts", sums.posts.toLocaleString()],
    ["Mood, −1 to 1", signed(sums.mood)],
    ["Positive", share(sums.positive)],
    ["Negative", share(sums.negative)],
    ["Toxic", share(sums.toxic)],
    ["Posts a second", status.rate.toFixed(1)],
    ["Waiting for a worker", status.lag === null ? "unknown" : status.lag.toLocaleString()],
    ["Dead letters", letters.reduce((sum, row) => sum + row.messages, 0).toLocaleString()],
  ];
  $("totals").replaceChildren(
    ...rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}

const layout = (report, more) => ({
  margin: { l: 44, r: 12, t: 8, b: 36 },
  paper_bgcolor: "transparent",
  plot_bgcolor: "transparent",
  font: { color: color("text") },
  showlegend: true,
  legend: { orientation: "h", y: 1.15 },
  xaxis: { type: "date", range: [new Date(report.from_ms), new Date(report.to_ms)], gridcolor: color("line") },
  yaxis: { gridcolor: color("line"), rangemode: "tozero" },
  ...more,
});
const CONFIG = { displayModeBar: false, responsive: true, scrollZoom: false };

function sentiment(report) {
  const half = report.step_s * 500;
  const times = report.series.map((row) => new Date(row.time_ms + half));
  const traces = ["negative", "neutral", "positive"].map((name) => ({
    type: "bar", name, x: times, y: report.series.map((row) => row[name]), marker: { color: color(name) },
    width: report.step_s * 1000,
  }));
  Plotly.react("sentiment", traces, layout(report, { barmode: "stack", bargap: 0 }), CONFIG).then((chart) => {
    if (chart.dataset.ready) return;
    chart.dataset.ready = "yes";
    chart.on("plotly_click", ({ points }) => look(last.series[points[0].pointNumber].time_ms, last.step_s));
  });
  $("series").replaceChildren(
    element("thead", {}, element("tr", {}, ...["From", "Positive", "Neutral", "Negative"].map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...report.series.toReversed().map((row) =>
      element("tr", {},
        element("td", {}, element("button", { type: "button", class: "value", onclick: () => look(row.time_ms, last.step_s) }, moment(row.time_ms))),
        ...["positive", "neutral", "negative"].map((name) => element("td", { class: "number" }, String(row[name])))))),
  );
}

// The posts around a bar: the shortest stretch that ends with it.
function look(time_ms, step_s) {
  view.set("to", String(time_ms + step_s * 1000));
  view.set("span", "5m");
  history.pushState(null, "", `?${view}`);
  refresh();
  $("posts-title").focus();
}

function lines(report) {
  const times = report.series.map((row) => new Date(row.time_ms));
  const trace = (name, key, hue) => ({
    type: "scatter", mode: "lines+markers", marker: { size: 4 }, name, x: times,
    y: report.series.map((row) => row[key]), line: { color: color(hue) },
  });
  const traces = [trace("mood", "mood", "link"), trace("toxicity", "toxicity", "negative")];
  Plotly.react("lines", traces, layout(report, { yaxis: { range: [-1, 1], gridcolor: color("line") } }), CONFIG);
}

function head(...names) {
  return element("thead", {}, element("tr", {}, ...names.map((name, place) =>
    element("th", place ? { scope: "col", class: "number" } : { scope: "col" }, name))));
}

function emotions(report) {
  const trend = (value) => {
    if (value === null) return "–";
    const points = Math.round(100 * value);
    return points > 0 ? `▲ ${points} points` : points < 0 ? `▼ ${-points} points` : "same";
  };
  $("emotions").replaceChildren(
    head("Emotion", "Posts", "Share", "In the second half"),
    element("tbody", {}, ...report.emotions.map((row) =>
      element("tr", {}, element("td", {}, row.emotion), element("td", { class: "number" }, row.posts.toLocaleString()),
        element("td", { class: "number" }, percent(row.share)), element("td", { class: "number" }, trend(row.change))))),
  );
}

function breakdowns(report) {
  if ($("breakdowns").contains(document.activeElement)) return; // do not take the focus away
  $("breakdowns").replaceChildren(
    ...Object.entries(report.breakdowns).filter(([, rows]) => rows.length).map(([name, rows]) =>
      element("section", {}, element("h2", {}, `By ${name}`),
        element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `By ${name}` },
          element("table", { "data-field": name }, head(name, "Posts", "Mood", "Toxic"),
            element("tbody", {}, ...rows.map((row) =>
              element("tr", {},
                element("td", {}, element("button", { type: "button", class: "value", onclick: () => change(name, row.value) }, row.value)),
                element("td", { class: "number" }, row.posts.toLocaleString()),
                element("td", { class: "number" }, signed(row.mood)),
                element("td", { class: "number" }, percent(row.toxic))))))))),
  );
}

function dead(report) {
  const rows = report.dead_letters;
  $("dead").replaceChildren(
    head("Reason", "Messages"),
    element("tbody", {}, ...(rows.length ? rows : [{ reason: "none", messages: 0 }]).map((row) =>
      element("tr", {}, element("td", {}, row.reason), element("td", { class: "number" }, row.messages.toLocaleString())))),
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
  $("posts-title").textContent = report.live ? "Newest posts" : `Posts up to ${moment(report.to_ms)}`;
  $("posts").replaceChildren(
    ...report.posts.map((post) =>
      element("li", {},
        element("div", { class: "about" },
          `${moment(post.time_ms)} `,
          element("span", { class: `label ${["positive", "negative"].includes(post.sentiment) ? post.sentiment : "neutral"}` }, post.sentiment || "no sentiment"),
          ` ${[post.emotion, post.lang, ...Object.entries(post.fields || {}).map(([name, value]) => `${name}: ${value}`)].filter(Boolean).join(" · ")}`,
          post.toxicity >= 0.5 ? ` · toxic ${percent(post.toxicity)}` : ""),
        element("div", {}, ...(post.text === null ? ["(The worker leaves the text out: sink.include_text.)"] : marked(post.text, post.marks))))),
  );
}

$("span").addEventListener("change", (event) => change("span", event.target.value === "30m" ? null : event.target.value));
$("clear").addEventListener("click", () => {
  view = new URLSearchParams();
  history.pushState(null, "", location.pathname);
  refresh();
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
addEventListener("popstate", () => {
  view = new URLSearchParams(location.search);
  refresh();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => last && draw(last));

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
