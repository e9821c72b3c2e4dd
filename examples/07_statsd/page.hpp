// SPDX-License-Identifier: MIT
#pragma once

namespace statsd {

/// The page: one file that loads nothing but /data.json, each second.
inline constexpr char const* page = R"page(<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>07_statsd</title>
<link rel="icon" href="data:,">
<style>
:root {
  color-scheme: light dark;
  --ground: #f7f7f5; --card: #ffffff; --edge: #dddad3; --text: #22211f; --quiet: #6b6861;
  --first: #1f5fbf; --second: #b3541e; --bad: #a61b1b; --bad-ground: #fbeaea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #171819; --card: #202224; --edge: #36393c; --text: #e6e4df; --quiet: #9d9a93;
    --first: #7fb2ff; --second: #f0a672; --bad: #ff9a92; --bad-ground: #3a1f1f;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1200px; padding: 16px; background: var(--ground); color: var(--text);
  font: 14px/1.45 system-ui, sans-serif; }
h1 { font-size: 20px; margin: 0 0 4px; }
h2 { font-size: 16px; margin: 28px 0 8px; }
p { margin: 0 0 8px; color: var(--quiet); }
#alarm { color: var(--bad); background: var(--bad-ground); border-radius: 6px; padding: 8px 12px; }
#alarm:empty { display: none; }
.grid { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); }
.narrow { grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); }
.card { background: var(--card); border: 1px solid var(--edge); border-radius: 8px; padding: 10px 12px; min-width: 0; }
.card h3 { font-size: 14px; margin: 0; overflow-wrap: anywhere; }
.card .tags { color: var(--quiet); overflow-wrap: anywhere; }
.card .now { font-size: 20px; font-variant-numeric: tabular-nums; }
.card .unit { color: var(--quiet); font-size: 13px; }
dl { display: grid; grid-template-columns: 1fr auto; gap: 0 8px; margin: 6px 0 0; font-variant-numeric: tabular-nums; }
dt { color: var(--quiet); }
dd { margin: 0; text-align: right; }
dd.bad { color: var(--bad); font-weight: 600; }
svg { display: block; width: 100%; height: 72px; margin-top: 4px; }
svg path { fill: none; stroke-width: 1.6; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
svg .first { stroke: var(--first); }
svg .second { stroke: var(--second); stroke-dasharray: 5 3; }
svg .ground { stroke: var(--edge); stroke-width: 1; }
.scale { display: flex; justify-content: space-between; color: var(--quiet); font-size: 12px;
  font-variant-numeric: tabular-nums; }
.key { color: var(--quiet); font-size: 12px; }
.key b { font-weight: 600; }
.key .one { color: var(--first); } .key .two { color: var(--second); }
input { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--edge); border-radius: 6px;
  padding: 6px 10px; width: min(100%, 320px); margin-bottom: 12px; }
input:focus-visible { outline: 2px solid var(--first); }
</style>
<h1>07_statsd</h1>
<p id="status">loading</p>
<div id="alarm" role="alert"></div>
<h2>Sockets and buffers</h2>
<div class="grid narrow" id="server"></div>
<h2>Metrics</h2>
<label><span class="key">Name or tag has</span><br><input id="filter" type="search" autocomplete="off"></label>
<div class="grid" id="metrics"></div>
<p id="rest"></p>
<noscript><p>The charts need JavaScript. <a href="/metrics">/metrics</a> has the numbers as text.</p></noscript>
<script>
"use strict";
const by = id => document.getElementById(id);
const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const number = value => Math.abs(value) >= 1e6 || Number.isInteger(value)
  ? value.toLocaleString("en", {notation: Math.abs(value) >= 1e7 ? "compact" : "standard", maximumFractionDigits: 1})
  : value.toLocaleString("en", {maximumSignificantDigits: 4});
const clock = time => new Date(time).toTimeString().slice(0, 8);

// A line for each of `lines`, the index of its value in a point, from 0 or the least to the most of all.
function chart(points, lines, label) {
  const ns = "http://www.w3.org/2000/svg", width = 300, height = 70;
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} ${height + 2}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  const values = points.flatMap(point => lines.map(line => point[line]));
  const least = Math.min(0, ...values), most = Math.max(...values, least), height_of_all = most - least || 1;
  const from = points.length ? points[0][0] : 0, until = points.length ? points[points.length - 1][0] : 1;
  const x = time => until > from ? (time - from) / (until - from) * width : width;
  const y = value => 1 + height - (value - least) / height_of_all * height;
  svg.setAttribute("aria-label", `${label}: from ${number(least)} to ${number(most)}, last ` +
    (points.length ? lines.map(line => number(points[points.length - 1][line])).join(" and ") : "nothing"));
  const path = (kind, text) => {
    const node = document.createElementNS(ns, "path");
    node.setAttribute("class", kind);
    node.setAttribute("d", text);
    svg.append(node);
  };
  path("ground", `M0 ${y(0)}H${width}`);
  lines.forEach((line, i) => path(i ? "second" : "first", points.length == 1
    ? `M0 ${y(points[0][line])}H${width}`
    : points.map((point, j) => `${j ? "L" : "M"}${x(point[0]).toFixed(1)} ${y(point[line]).toFixed(1)}`).join("")));
  const title = document.createElementNS(ns, "title");
  title.textContent = svg.getAttribute("aria-label");
  svg.append(title);
  const box = make("div", {}, svg);
  box.append(make("div", {class: "scale"}, make("span", {}, points.length ? clock(from) : ""),
    make("span", {}, most > least ? `${number(least)} to ${number(most)}` : number(most)),
    make("span", {}, points.length ? clock(until) : "")));
  return box;
}

const key = (one, two) => make("div", {class: "key"}, make("b", {class: "one"}, "\u2014 " + one), two ? " \u2003" : "",
  two ? make("b", {class: "two"}, "- - " + two) : "");
const facts = list => make("dl", {}, ...list.flatMap(([name, value, bad]) =>
  [make("dt", {}, name), make("dd", bad && value ? {class: "bad"} : {}, number(value))]));

const units = {counters: "a second", gauges: "", timers: "ms, median", sets: "different"};
function metric(one) {
  const last = one.points.length ? one.points[one.points.length - 1][1] : one.value;
  const card = make("section", {class: "card", "data-series": one.kind + " " + one.name},
    make("h3", {}, one.name), make("div", {class: "tags"}, one.kind + (one.tags ? " \u00b7 " + one.tags : "")),
    make("div", {}, make("span", {class: "now"}, number(last)), " ", make("span", {class: "unit"}, units[one.kind])));
  if (one.points.length) card.append(chart(one.points, one.kind == "timers" ? [1, 2] : [1], one.name));
  if (one.kind == "timers") card.append(key("median", "95 %"));
  if (one.kind == "counters") card.append(facts([["in all", one.value]]));
  return card;
}

function buffer(one) {
  return make("section", {class: "card", "data-buffer": one.name}, make("h3", {}, one.name),
    chart(one.points, [1, 2], one.name + ", series in memory"), key("waiting", "in flight"),
    chart(one.points, [3], one.name + ", milliseconds of a batch"), key("ms to store a batch"),
    facts([["values taken", one.accepted], ["of these added to a series", one.coalesced],
      ["series stored", one.processed],
      ["waiting", one.waiting], ["in flight", one.in_flight], ["retries", one.retries, true],
      ["refused, too many series", one.refused, true], ["series lost", one.lost, true]]));
}

async function update() {
  try {
    const answer = await fetch("/data.json?filter=" + encodeURIComponent(by("filter").value));
    const data = await answer.json();
    by("status").textContent = `${number(data.values)} values in ${number(data.packets)} packets; ` +
      `a window is ${number(data.window / 1000)} s`;
    const retries = data.buffers.some(one => one.points.slice(-10).some(point => point[4] > 0));
    by("alarm").textContent = retries && data.error ? "Not stored yet, and tried again: " + data.error : "";
    by("server").replaceChildren(make("section", {class: "card"}, make("h3", {}, "packets a second"),
      chart(data.socket, [1, 2], "packets a second"), key("received", "dropped by the kernel"),
      facts([["received", data.packets], ["dropped by the kernel", data.kernel_dropped, true],
        ["malformed lines", data.malformed, true]])), ...data.buffers.map(buffer));
    by("metrics").replaceChildren(...data.series.map(metric));
    by("rest").textContent = data.matching > data.series.length
      ? `${number(data.matching - data.series.length)} more: the filter finds them` : "";
  } catch (error) {
    by("alarm").textContent = "The server does not answer: " + error.message;
  }
  setTimeout(update, 1000);
}
update();
</script>
</html>
)page";

}  // namespace statsd
