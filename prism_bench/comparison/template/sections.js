"use strict";
/* Sections 2 to 7. Each function fills the place of its section. */

const tables = data.tables;
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const PHASES = ["circle", "square", "triangle-up", "star", "x"];
const PATTERNS = ["", "/", ".", "x", "\\", "-", "|", "+"];

/* Over seeds, intervals can leave the range of rates. */
const rates = tables.rates.map((row) => ({ ...row, low: Math.max(0, row.low), high: Math.min(1, row.high) }));
const rateOf = (name, stage, kind = "all", split = state.split, quantity = state.quantity) =>
  rates.find((row) => row.configuration === name && row.stage === stage && row.split === split && row.quantity === quantity && row.task_type === kind);
const differenceOf = (name, kind = "all", split = state.split) =>
  tables.differences.find((row) => row.configuration === name && row.split === split && row.quantity === state.quantity && row.task_type === kind);
const costOf = (name, phase = "method") => tables.costs.find((row) => row.configuration === name && row.phase === phase)?.quantities;

function estimates(names, found, labels, width, xaxis, extra = () => []) {
  const place = rows(labels, width, 20);
  const traces = found.flatMap((row, number) => {
    const seeds = Object.entries(row.values);
    const shade = colour(names[number]);
    const y = place.ys[number];
    const text = `${plain(names[number])}<br>mean ${percent(row.mean)} [${percent(row.low)}, ${percent(row.high)}]`;
    return [
      ...extra(row, y),
      { x: [100 * row.mean], y: [y], mode: "markers", hoverinfo: "text", hovertext: [text],
        marker: { color: shade, size: 12, symbol: "diamond" },
        error_x: { type: "data", symmetric: false, array: [100 * (row.high - row.mean)], arrayminus: [100 * (row.mean - row.low)], color: shade, thickness: 2.5, width: 7 } },
      { x: seeds.map(([, value]) => 100 * value), y: seeds.map((_, place) => y + 5 * ((place % 3) - 1)), mode: "markers", hoverinfo: "text",
        hovertext: seeds.map(([seed, value]) => `seed ${seed}: ${percent(value)}`),
        marker: { color: css("--card"), size: 7, line: { color: shade, width: 1.5 } } },
    ];
  });
  return { traces, height: place.total + 52, annotations: place.annotations, yaxis: place.yaxis, margin: { l: 8, r: 14, t: 2, b: 46 }, xaxis };
}

const stroke = (x, y, symbol, size, text, shade = css("--quiet")) => ({
  x, y: x.map(() => y), mode: "markers", hoverinfo: "text", hovertext: x.map(() => text), marker: { symbol, size, color: shade, line: { color: shade, width: 2 } },
});

function success() {
  const parent = document.getElementById("success-figures");
  clear(parent);
  const what = `${state.quantity} on ${state.split}, %`;
  for (const [place, members] of grouped(parent)) {
    const names = members.filter((name) => rateOf(name, "final"));
    if (!names.length) { place.append(nothing(`No configuration was evaluated on ${state.split}.`)); continue; }
    figure(place, `Final policies: ${what}`, `${what} of each configuration by seed`, (width) =>
      estimates(names, names.map((name) => rateOf(name, "final")), names.map((name) => [`${keyOf(name)}  ${name}`]), width,
        { title: { text: plain(what) }, zeroline: false, ...within(names.map((name) => rateOf(name, "final")), names.map((name) => rateOf(name, "base"))) },
        (row, y) => {
          const before = rateOf(row.configuration, "base");
          return before ? [stroke([100 * before.mean], y, "line-ns", 18, `before training ${percent(before.mean)}`)] : [];
        }));
    const compared = members.filter((name) => differenceOf(name));
    if (!compared.length) { place.append(nothing("There is no baseline here, so there are no differences to show.")); continue; }
    figure(place, `Differences: ${state.quantity} on ${state.split}, points`, "Differences to the baseline by seed", (width) =>
      estimates(compared, compared.map((name) => differenceOf(name)), compared.map(difference), width,
        { title: { text: "points, against the baseline" }, zeroline: true, zerolinewidth: 2, zerolinecolor: css("--text") },
        (row, y) => row.smallest === null ? [] : [stroke([-100 * row.smallest, 100 * row.smallest], y, "line-ns", 14, `a difference of ${percent(row.smallest)} points would have been seen in 80 %`)]));
  }
}

function difference(name) {
  const row = differenceOf(name);
  const p = row.p === null ? "" : `, p ${row.p < 0.001 ? "< 0.001" : row.p.toFixed(3)}`;
  return [`${keyOf(name)} against ${keyOf(row.baseline)}  ${points(row.mean)}  ${MARKS[row.verdict]} ${row.verdict}${p}`];
}

function within(rates, before) {
  const values = [...rates, ...before.filter(Boolean)].flatMap((row) => [row.low, row.high, ...Object.values(row.values)]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = 0.05 * (high - low) + 0.01;
  return { range: [100 * (low - margin), 100 * (high + margin)] };
}

/* Configurations that no other one beats in success at less cost: the rule of the table of fronts. */
const front = (spots) => spots.filter((own) => !spots.some((other) => other !== own && ((other.y >= own.y && other.x < own.x) || (other.y > own.y && other.x <= own.x))));

/* Where labels go beside their points, in pixels, so that they cover neither each other nor another point. */
function apart(pixels, width, height) {
  const placed = [];
  return pixels.map(([x, y], own) => {
    const spots = [24, 40, 58, 80].flatMap((far) => [0, 180, 45, 135, 225, 315, 90, 270].map((angle) => [far * Math.cos((angle * Math.PI) / 180), far * Math.sin((angle * Math.PI) / 180)]));
    const free = ([dx, dy]) => {
      const near = ([px, py], least) => Math.hypot(x + dx - px, y + dy - py) < least;
      const inside = x + dx > 10 && x + dx < width - 10 && y + dy > 10 && y + dy < height - 10;
      return inside && !placed.some((other) => near(other, 26)) && !pixels.some((other, number) => number !== own && near(other, 18));
    };
    const [dx, dy] = spots.find(free) ?? spots[0];
    placed.push([x + dx, y + dy]);
    return [dx, dy];
  });
}

function costs() {
  const parent = document.getElementById("cost-figures");
  const cost = COSTS[document.getElementById("cost").value];
  clear(parent);
  for (const [place, members] of grouped(parent, "")) {
    const spots = members.filter((name) => rateOf(name, "final") && costOf(name)).map((name) => ({ name, row: rateOf(name, "final"), x: cost.of(costOf(name)), y: 100 * rateOf(name, "final").mean }));
    if (!spots.length) { place.append(nothing("No configuration has both a cost and a final success.")); continue; }
    const most = Math.max(...spots.map((spot) => spot.x));
    const best = front(spots).sort((a, b) => a.x - b.x);
    const text = ({ name, row, x }) => [plain(name), `${percent(row.mean)} % [${percent(row.low)}, ${percent(row.high)}]`, `${cost.name}: ${cost.text(x)}`].join("<br>");
    const xrange = [-0.04 * most, 1.08 * most || 1];
    const yrange = within(spots.map((spot) => spot.row), []).range;
    figure(place, null, `${state.quantity} against ${cost.name}`, (width) => {
      const [wide, high] = [width - 90, 364];
      const pixels = spots.map((spot) => [((spot.x - xrange[0]) / (xrange[1] - xrange[0])) * wide, ((yrange[1] - spot.y) / (yrange[1] - yrange[0])) * high]);
      return {
        height: 420,
        margin: { l: 10, r: 20, t: 10, b: 46 },
        xaxis: { title: { text: cost.name }, range: xrange, ...ticks(most, cost.text) },
        yaxis: { title: { text: `${state.quantity}, % (${plain(state.split)})` }, zeroline: false, range: yrange },
        annotations: apart(pixels, wide, high).map(([ax, ay], number) => ({
          x: spots[number].x, y: spots[number].y, ax, ay, arrowhead: 0, arrowwidth: 1, arrowcolor: colour(spots[number].name), standoff: 5,
          text: keyOf(spots[number].name), font: { color: css("--on-key"), size: 12, weight: 700 }, bgcolor: colour(spots[number].name), borderpad: 3,
        })),
        traces: [
          { x: best.map((spot) => spot.x), y: best.map((spot) => spot.y), mode: "lines", line: { shape: "hv", color: css("--quiet"), width: 2, dash: "dot" }, hoverinfo: "skip" },
          { x: spots.map((spot) => spot.x), y: spots.map((spot) => spot.y), mode: "markers", hoverinfo: "text", hovertext: spots.map(text),
            marker: { size: 11, color: spots.map((spot) => colour(spot.name)), symbol: spots.map((spot) => (best.includes(spot) ? "circle" : "x")) },
            error_y: { type: "data", symmetric: false, array: spots.map((spot) => 100 * (spot.row.high - spot.row.mean)), arrayminus: spots.map((spot) => 100 * (spot.row.mean - spot.row.low)), color: css("--quiet"), thickness: 1, width: 3 } },
        ],
      };
    });
    place.append(legend(spots.map((spot) => spot.name)), element("p", { class: "quiet" }, "● on the front   ✕ another one is at least as good for less"));
  }
}

function curves() {
  const parent = document.getElementById("curve-figures");
  const logarithmic = document.getElementById("scale").value === "log";
  clear(parent);
  if (!data.curves.length) { parent.append(nothing("No run has a learning curve: eval.curve_points is 0, or nothing was trained.")); return; }
  const flops = data.curves.map((point) => point.flops);
  const [least, most] = [Math.min(...flops.filter((value) => value > 0)), Math.max(...flops)];
  const highest = Math.max(data.reach, ...data.curves.map((point) => point.high));
  for (const [place, members] of grouped(parent)) {
    const drawn = members.filter((name) => data.curves.some((point) => point.configuration === name));
    if (!drawn.length) place.append(nothing("No run of these has a learning curve."));
    for (const strategy of new Set(drawn.map((name) => byName.get(name).strategy))) {
      const names = drawn.filter((name) => byName.get(name).strategy === strategy);
      const phases = [...new Set(data.curves.filter((point) => names.includes(point.configuration)).map((point) => point.phase))];
      figure(place, [`strategy ${strategy} `, ...names.flatMap((name) => [badge(name), " "])], `Learning curves of ${strategy}`, () => ({
        height: 300,
        margin: { l: 10, r: 26, t: 8, b: 44 },
        xaxis: { title: { text: "FLOPs" }, ...(logarithmic ? { type: "log", range: [Math.log10(least) - 0.08, Math.log10(most) + 0.08], ...logTicks(least, most) } : { range: [0, 1.06 * most], ...ticks(most, count) }) },
        yaxis: { title: { text: "success, %" }, range: [-3, Math.min(103, 100 * highest + 8)], zeroline: false },
        traces: [
          { x: logarithmic ? [least / 2, most * 2] : [0, 2 * most], y: [100 * data.reach, 100 * data.reach], mode: "lines", line: { color: css("--quiet"), dash: "dash", width: 1.5 }, hoverinfo: "skip" },
          ...names.flatMap((name, number) => curve(name, number, phases)),
        ],
      }));
      place.lastChild.append(element("p", { class: "quiet" }, phases.map((phase, number) => `${"●■▲★✕"[number % 5]} ${phase}`).join("   ")));
    }
  }
  parent.append(legend(data.configurations.map((each) => each.name).filter((name) => data.curves.some((point) => point.configuration === name))));
}

function curve(name, number, phases) {
  const own = data.curves.filter((point) => point.configuration === name);
  const shade = colour(name);
  const text = (point) => `${plain(name)}<br>${plain(point.phase)}, ${count(point.flops)} FLOPs<br>${percent(point.mean)} % (${percent(point.low)} to ${percent(point.high)}, ${point.seeds} seed${point.seeds > 1 ? "s" : ""})`;
  const band = own.some((point) => point.seeds > 1)
    ? [{ x: [...own, ...own.toReversed()].map((point) => point.flops), y: [...own.map((point) => 100 * point.high), ...own.toReversed().map((point) => 100 * point.low)], mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: faint(shade), hoverinfo: "skip" }]
    : [];
  return [...band, {
    x: own.map((point) => point.flops), y: own.map((point) => 100 * point.mean), mode: "lines+markers+text", hoverinfo: "text", hovertext: own.map(text),
    text: own.map((_, place) => (place === own.length - 1 ? keyOf(name) : "")), textposition: "middle right", textfont: { color: shade, weight: 700 }, cliponaxis: false,
    line: { color: shade, width: 2, dash: DASHES[number % DASHES.length] }, marker: { color: shade, size: 7, symbol: own.map((point) => PHASES[phases.indexOf(point.phase) % PHASES.length]) },
  }];
}

function types() {
  const parent = document.getElementById("type-table");
  const base = document.getElementById("against").value === "base";
  const finals = rates.filter((row) => row.stage === "final" && row.quantity === state.quantity);
  const columns = data.splits.flatMap((split) => [...new Set(finals.filter((row) => row.split === split).map((row) => row.task_type))].map((kind) => [split, kind]));
  const found = (name, [split, kind]) => {
    if (!base) return differenceOf(name, kind, split);
    const [last, first] = [rateOf(name, "final", kind, split), rateOf(name, "base", kind, split)];
    return last && first && { mean: last.mean - first.mean, verdict: "" };
  };
  const names = data.configurations.map((each) => each.name).filter((name) => columns.some((column) => found(name, column)));
  if (!names.length) { parent.replaceChildren(nothing(base ? "No model was evaluated before training." : "There is no baseline to compare with; choose the model before training.")); return; }
  const most = Math.max(...names.flatMap((name) => columns.map((column) => Math.abs(found(name, column)?.mean ?? 0))), 0.01);
  const spans = data.splits.map((split) => [split, columns.filter((column) => column[0] === split).length]).filter(([, span]) => span);
  parent.replaceChildren(element("table", { class: "heat" },
    element("thead", {},
      element("tr", {}, element("td"), ...spans.map(([split, span]) => element("th", { scope: "colgroup", colspan: span, class: "first" }, split))),
      element("tr", {}, element("th", { scope: "col" }, "configuration"), ...columns.map(([, kind]) => element("th", { scope: "col", class: kind === "all" ? "first" : null }, kind.replaceAll("_", "_\u200b"))))),
    element("tbody", {}, ...names.map((name) => element("tr", {},
      element("th", { scope: "row" }, element("span", { class: "tag" }, badge(name), element("span", { class: "name" }, ` ${name}`))),
      ...columns.map((column) => heat(found(name, column), most, column[1] === "all")))))));
  if (base) parent.append(element("p", { class: "quiet" }, "These differences are not tested."));
}

function heat(row, most, first) {
  if (!row) return element("td", { class: first ? "first" : null }, "–");
  const strength = Math.round((70 * Math.abs(row.mean)) / most);
  const mark = { better: " ▲", worse: " ▼" }[row.verdict] ?? "";
  const interval = row.low === undefined ? "" : `[${points(row.low)}, ${points(row.high)}], ${row.verdict}`;
  const style = `background:color-mix(in srgb, var(--${row.mean < 0 ? "less" : "more"}) ${strength}%, transparent)`;
  return element("td", { style, title: interval, class: first ? "first" : null }, points(row.mean) + mark);
}

function scores() {
  const parent = document.getElementById("score-figures");
  const seed = Number(document.getElementById("score-seed").value);
  clear(parent);
  for (const router of data.routers) {
    const found = router.histograms.find((each) => each.seed === seed);
    const caption = [badge(router.configuration), ` ${byName.get(router.configuration).router}`, found ? `, threshold ${found.threshold.toPrecision(3)} (dashed)` : ""];
    if (!found) { parent.append(element("figure", {}, element("figcaption", {}, ...caption), nothing(`There is no run with seed ${seed}.`))); continue; }
    const middle = found.sft.map((_, place) => (found.edges[place] + found.edges[place + 1]) / 2);
    const wide = found.edges[1] - found.edges[0];
    const bars = (counts, name, shade, shape) => ({ type: "bar", x: middle, y: counts, width: wide, name, marker: { color: shade, line: { width: 0.5, color: css("--card") }, pattern: { shape, bgcolor: shade, fgcolor: css("--card"), size: 6 } }, hoverinfo: "text", hovertext: counts.map((each, place) => `${each} to ${name}<br>${found.edges[place].toPrecision(4)} to ${found.edges[place + 1].toPrecision(4)}`), textposition: "none" });
    figure(parent, caption, `Scores of ${router.configuration}`, () => ({
      height: 250, barmode: "stack", showlegend: true, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
      margin: { l: 10, r: 10, t: 34, b: 42 },
      xaxis: { title: { text: "score" }, nticks: 6 }, yaxis: { title: { text: "trajectories" }, rangemode: "tozero" },
      shapes: [{ type: "line", x0: found.threshold, x1: found.threshold, yref: "paper", y0: 0, y1: 1, line: { color: css("--text"), dash: "dash", width: 1.5 } }],
      traces: [bars(found.sft, "SFT", css("--c0"), ""), bars(found.rl, "RL", css("--c1"), "/")],
    }));
  }
}

function norms() {
  const parent = document.getElementById("norm-figures");
  const probed = data.routers.filter((router) => router.norms);
  if (!probed.length) { parent.append(nothing("No router here reads gradients.")); return; }
  for (const router of probed) {
    const place = element("div", { class: "grid thirds" });
    parent.append(element("p", {}, badge(router.configuration), ` ${router.configuration}`), place);
    const { sft, rl } = router.norms;
    const most = Math.max(...sft.flat(), ...rl.flat());
    const ratio = rl.map((row, layer) => row.map((value, matrix) => (sft[layer][matrix] ? value / sft[layer][matrix] - 1 : 0)));
    const wide = Math.max(0.05, ...ratio.flat().map(Math.abs));
    const map = (title, z, zmin, zmax, scale, words) => figure(place, title, title, () => ({
      height: 150 + 18 * Math.min(z.length, 16), margin: { l: 10, r: 10, t: 6, b: 60 },
      xaxis: { tickangle: -40, showgrid: false, type: "category" }, yaxis: { title: { text: "layer" }, showgrid: false, zeroline: false, dtick: Math.ceil(z.length / 8), autorange: "reversed" },
      traces: [{ type: "heatmap", x: router.matrices.map(plain), z, zmin, zmax, colorscale: scale(), xgap: 1, ygap: 1, hoverinfo: "text",
        hovertext: z.map((row, layer) => row.map((value, matrix) => `layer ${layer}, ${plain(router.matrices[matrix])}<br>${words(value)}`)), colorbar: { thickness: 10, outlinewidth: 0, tickformat: zmin < 0 ? "+.0%" : "" } }],
    }));
    const rising = () => [[0, css("--card")], [1, css("--c0")]];
    map("trajectories to SFT: norm / mean norm", sft, 0, most, rising, (value) => value.toFixed(2));
    map("trajectories to RL: norm / mean norm", rl, 0, most, rising, (value) => value.toFixed(2));
    map("RL more or less than SFT", ratio, -wide, wide, () => [[0, css("--less")], [0.5, css("--card")], [1, css("--more")]], (value) => `${points(value)} %`);
  }
}

function phases() {
  const parent = document.getElementById("phase-figures");
  const cost = COSTS[document.getElementById("phase-cost").value];
  clear(parent);
  const all = tables.costs.filter((row) => row.phase !== "method");
  const names = data.configurations.map((each) => each.name).filter((name) => all.some((row) => row.configuration === name));
  if (!names.length) { parent.append(nothing("No run has a ledger.")); return; }
  const order = [...new Set(all.map((row) => row.phase))].sort((a, b) => (a === "eval") - (b === "eval"));
  const value = (name, phase) => { const found = costOf(name, phase); return found ? cost.of(found) : 0; };
  const sums = names.map((name) => order.reduce((sum, phase) => sum + value(name, phase), 0));
  figure(parent, element("span", { class: "legend" }, ...order.map((phase, number) => element("span", { class: `swatch c${number % COLOURS}`, "data-pattern": PATTERNS[number % PATTERNS.length] }, phase))), `${cost.name} by phase`, (width) => {
    const place = rows(names.map((name, number) => [`${keyOf(name)}  ${name}: ${cost.text(sums[number])}`]), width, 16);
    return {
      height: place.total + 48, barmode: "stack", annotations: place.annotations, yaxis: place.yaxis, margin: { l: 8, r: 20, t: 2, b: 44 },
      xaxis: { title: { text: cost.name }, ...ticks(Math.max(...sums), cost.text) },
      traces: order.map((phase, number) => ({
        type: "bar", orientation: "h", x: names.map((name) => value(name, phase)), y: place.ys, width: names.map(() => 16), hoverinfo: "text", textposition: "none",
        hovertext: names.map((name, at) => `${plain(name)}<br>${plain(phase)}: ${cost.text(value(name, phase))}, ${percent(value(name, phase) / (sums[at] || 1))} %`),
        marker: { color: css(`--c${number % COLOURS}`), line: { width: 1, color: css("--card") },
          pattern: { shape: PATTERNS[number % PATTERNS.length], bgcolor: css(`--c${number % COLOURS}`), fgcolor: css("--card"), size: 7, solidity: 0.25 } },
      })),
    };
  });
}

function begin() {
  const listen = (id, ...draw) => document.getElementById(id).addEventListener("change", () => draw.forEach((each) => each()));
  const everySplit = () => { success(); costs(); types(); };
  for (const name of ["split", "quantity"])
    listen(name, () => { state[name] = document.getElementById(name).value; }, everySplit);
  document.getElementById("quantity-label").hidden = !tables.rates.some((row) => row.quantity === "score");
  const seeds = document.getElementById("score-seed");
  if (seeds) {
    for (const seed of new Set(data.routers.flatMap((router) => router.histograms.map((each) => each.seed)))) seeds.append(element("option", {}, String(seed)));
    listen("score-seed", scores);
    scores();
    norms();
  }
  listen("cost", costs);
  listen("scale", curves);
  listen("against", types);
  listen("phase-cost", phases);
  if (!tables.differences.length) document.getElementById("against").value = "base";
  everySplit();
  curves();
  phases();
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => redrawAll());
  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement;
    root.dataset.theme = (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark" ? "light" : "dark";
    redrawAll();
  });
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(() => redrawAll((place, figure) => place.clientWidth !== figure.width), 120); });
  document.addEventListener("click", ({ target }) => {
    if (!target.matches("button.copy")) return;
    getSelection().selectAllChildren(target.parentElement.querySelector("code"));
    target.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    setTimeout(() => { target.textContent = "Copy"; }, 1500);
  });
}

begin();
