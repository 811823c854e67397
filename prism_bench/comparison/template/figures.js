"use strict";
/* Helpers of all sections: elements made of text, numbers as people read them, figures that are drawn when seen. */

const data = JSON.parse(document.getElementById("data").textContent);
const byName = new Map(data.configurations.map((each) => [each.name, each]));
const state = { split: data.splits[0], quantity: "success" };
const COLOURS = 10;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null)); // strings become text, never HTML
  return made;
}

const index = (name) => data.configurations.indexOf(byName.get(name));
const keyOf = (name) => byName.get(name).key;
const badge = (name) => element("b", { class: `key c${index(name) % COLOURS}`, title: name }, keyOf(name));

/* A colour of the style sheet as rgb(...), of the theme that is shown. */
const probe = document.body.appendChild(element("i", { hidden: true }));
function css(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}
const faint = (shade) => shade.replace("rgb(", "rgba(").replace(")", ", 0.16)");
const colour = (name) => css(`--c${index(name) % COLOURS}`);

/* Plotly reads a little HTML in its labels. */
const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function wrapped(text, width) {
  const lines = [""];
  for (const piece of String(text).match(/[^\s,=_/-]*[\s,=_/-]*/g)) {
    for (let rest = piece; rest; rest = rest.slice(width)) {
      if (lines.at(-1) && (lines.at(-1) + rest).trimEnd().length > width) lines.push("");
      lines[lines.length - 1] += rest.slice(0, width);
    }
  }
  return lines.map((line) => line.trimEnd());
}

const percent = (value) => (Math.floor(1000 * value + 0.5) / 10).toFixed(1); // as answer.percent in Python
const points = (value) => (value < 0 ? "−" : "+") + percent(Math.abs(value));
const MARKS = { better: "▲", worse: "▼", "not told apart": "≈", "one seed": "?" };

function count(number) {
  const prefixes = ["", " k", " M", " G", " T", " P", " E", " Z"];
  let place = 0;
  for (; number >= 999.5 && place < prefixes.length - 1; place++) number /= 1000;
  return number.toFixed(place === 0 || number >= 99.95 ? 0 : number >= 9.995 ? 1 : 2) + prefixes[place];
}

function duration(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

const TOKENS = ["prefill_tokens", "generated_tokens", "trained_tokens"];
const COSTS = {
  flops: { name: "FLOPs", of: (cost) => cost.flops, text: count },
  seconds: { name: "time", of: (cost) => cost.seconds, text: duration },
  tokens: { name: "tokens", of: (cost) => TOKENS.reduce((sum, name) => sum + cost[name], 0), text: count },
  env_steps: { name: "environment steps", of: (cost) => cost.env_steps, text: count },
};

const short = (text) => text.replace(/(\.\d*?)0+(?=$| )/, "$1").replace(/\.(?=$| )/, ""); // 1.50 G is 1.5 G

/* Ticks in our own words: about five round values between 0 and the largest, or powers of ten. */
function ticks(most, text, least = 0) {
  if (!(most > 0)) return { tickvals: [0], ticktext: ["0"] };
  const unit = text === duration ? (most > 7200 ? 3600 : most > 120 ? 60 : 1) : 1;
  const rough = most / unit / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = unit * power * [1, 2, 2.5, 5, 10].find((step) => step * power >= rough);
  const found = [];
  for (let value = Math.ceil(least / size) * size; value <= most * 1.02; value += size) found.push(value);
  return { tickvals: found, ticktext: found.map((value) => (value ? short(text(value)) : "0")) };
}

function logTicks(least, most) {
  const found = [];
  for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most) + 1; power++)
    for (const digit of most / least > 300 ? [1] : [1, 2, 5]) found.push(digit * 10 ** power);
  return { tickvals: found, ticktext: found.map((value) => short(count(value))) };
}

function layout(changes) {
  const axis = { gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--line"), automargin: true };
  const { xaxis, yaxis, ...others } = changes;
  for (const each of [xaxis, yaxis]) if (each?.title) each.title.standoff = 10;
  return {
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: css("--text") },
    hoverlabel: { align: "left", bgcolor: css("--card"), font: { color: css("--text") }, namelength: -1 },
    hovermode: "closest",
    showlegend: false,
    dragmode: false,
    margin: { l: 10, r: 12, t: 8, b: 40 },
    xaxis: { ...axis, fixedrange: true, ...xaxis },
    yaxis: { ...axis, fixedrange: true, ...yaxis },
    ...others,
  };
}

/* Plotly's script runs for a second or two, so it does that when the page is shown and can be read already. */
const plotly = new Promise((done) => {
  addEventListener("load", () => setTimeout(() => {
    const script = element("script", {}, document.getElementById("plotly").textContent);
    document.body.append(script);
    script.remove();
    done();
  }, 50));
});

/* Figures: drawn when they come near the window, and again when a switch, the theme or the width changes. */
const figures = new Map();
const seen = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries)
      if (isIntersecting && figures.get(target)?.drawn === false) redraw(target);
  },
  { rootMargin: "400px" },
);

function redraw(place) {
  const figure = figures.get(place);
  figure.drawn = true;
  figure.width = place.clientWidth;
  const { traces, ...rest } = figure.draw(figure.width);
  place.style.height = `${rest.height}px`;
  Plotly.react(place, traces, layout({ ...rest, width: figure.width }), { displayModeBar: false });
}

function figure(parent, title, description, draw) {
  const place = element("div", { class: "plot", role: "img", "aria-label": description });
  parent.append(element("figure", {}, title ? element("figcaption", {}, ...[title].flat()) : null, place));
  figures.set(place, { draw, drawn: false });
  plotly.then(() => figures.has(place) && seen.observe(place));
}

function redrawAll(changed = () => true) {
  for (const [place, figure] of figures) if (figure.drawn && changed(place, figure)) redraw(place);
}

function clear(parent) {
  for (const place of parent.querySelectorAll(".plot")) {
    const figure = figures.get(place);
    seen.unobserve(place);
    figures.delete(place);
    if (figure.drawn) Plotly.purge(place);
  }
  parent.replaceChildren();
}

const nothing = (text) => element("p", { class: "quiet none" }, text);

/* The configurations of each group, under its name if there are several. */
function* grouped(parent, className = "grid") {
  const groups = Object.entries(data.groups);
  for (const [name, members] of groups) {
    if (groups.length > 1) parent.append(element("h3", { class: "group" }, name));
    const place = element("div", { class: className });
    parent.append(place);
    yield [place, members];
  }
}

function legend(names) {
  const tags = names.map((name) => element("span", { class: "tag" }, badge(name), name));
  return element("p", { class: "legend" }, ...tags);
}

/* Rows of a figure whose labels stand above them, however long they are: one unit of the y axis is one pixel. */
function rows(labels, width, height) {
  const placed = [];
  let top = 4;
  for (const label of labels) {
    const lines = label.flatMap((line) => wrapped(line, Math.max(20, Math.floor((width - 30) / 7.2))));
    const y = top + 17 * lines.length + height / 2 + 2;
    placed.push({ lines, top, y });
    top = y + height / 2 + 8;
  }
  return {
    ys: placed.map((row) => row.y),
    total: top,
    annotations: placed.map((row) => ({
      xref: "paper", x: 0, xanchor: "left", y: row.top, yanchor: "top", align: "left", showarrow: false,
      text: row.lines.map(plain).join("<br>"), font: { size: 13 }, bgcolor: css("--card"), borderpad: 0,
    })),
    yaxis: { range: [top, 0], showgrid: false, zeroline: false, showticklabels: false },
  };
}
