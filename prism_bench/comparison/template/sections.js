"use strict";
/* Sections 2 to 5: success, cost, learning curves, task types. Each function fills the place of its section. */

const tables = data.tables;
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const PHASES = ["circle", "square", "triangle-up", "star", "x"];
const PHASE_MARKS = "●■▲★✕";

/* Over seeds, intervals can leave the range of rates. */
const rates = tables.rates.map((row) => ({ ...row, low: Math.max(0, row.low), high: Math.min(1, row.high) }));

function find(among, wanted) {
  return among.find((row) => Object.entries(wanted).every(([key, value]) => row[key] === value));
}

function rateOf(name, stage, kind = "all", split = state.split) {
  return find(rates, { configuration: name, stage, split, quantity: state.quantity, task_type: kind });
}

function differenceOf(name, kind = "all", split = state.split) {
  return find(tables.differences, { configuration: name, split, quantity: state.quantity, task_type: kind });
}

const costOf = (name, phase = "method") => find(tables.costs, { configuration: name, phase })?.quantities;

/* Error bars from the ends of intervals. */
const bars = (found, color, thickness, width) => ({
  type: "data",
  symmetric: false,
  array: found.map((row) => 100 * (row.high - row.mean)),
  arrayminus: found.map((row) => 100 * (row.mean - row.low)),
  color,
  thickness,
  width,
});

/* A row per estimate: seeds as circles, the mean as a diamond with its interval. */
function estimates(found, labels, width, xaxis, extra) {
  const place = rows(labels, width, 20);
  const traces = found.flatMap((row, number) => {
    const seeds = Object.entries(row.values);
    const shade = colour(row.configuration);
    const y = place.ys[number];
    const interval = `[${percent(row.low)}, ${percent(row.high)}]`;
    const mean = {
      x: [100 * row.mean],
      y: [y],
      mode: "markers",
      hoverinfo: "text",
      hovertext: [`${plain(row.configuration)}<br>mean ${percent(row.mean)} ${interval}`],
      marker: { color: shade, size: 12, symbol: "diamond" },
      error_x: bars([row], shade, 2.5, 7),
    };
    const circles = {
      x: seeds.map(([, value]) => 100 * value),
      y: seeds.map((_, at) => y + 5 * ((at % 3) - 1)),
      mode: "markers",
      hoverinfo: "text",
      hovertext: seeds.map(([seed, value]) => `seed ${seed}: ${percent(value)}`),
      marker: { color: css("--card"), size: 7, line: { color: shade, width: 1.5 } },
    };
    return [...extra(row, y), mean, circles];
  });
  const { annotations, yaxis, total } = place;
  return { traces, annotations, yaxis, xaxis, height: total + 52, margin: { l: 8, r: 14, t: 2, b: 46 } };
}

const strokes = (x, y, size, text) => ({
  x,
  y: x.map(() => y),
  mode: "markers",
  hoverinfo: "text",
  hovertext: x.map(() => text),
  marker: { symbol: "line-ns", size, line: { color: css("--quiet"), width: 2 } },
});

function success() {
  const parent = document.getElementById("success-figures");
  clear(parent);
  for (const [place, members] of grouped(parent)) {
    finalPolicies(place, members.map((name) => rateOf(name, "final")).filter(Boolean));
    differences(place, members.map((name) => differenceOf(name)).filter(Boolean));
  }
}

function finalPolicies(place, found) {
  const what = `${state.quantity} on ${state.split}, %`;
  if (!found.length) return place.append(nothing(`No configuration was evaluated on ${state.split}.`));
  const before = (row) => rateOf(row.configuration, "base");
  const labels = found.map(({ configuration }) => [`${keyOf(configuration)}  ${configuration}`]);
  figure(place, `Final policies: ${what}`, `${what} of each configuration by seed`, (width) => {
    const range = around([...found, ...found.map(before).filter(Boolean)]);
    return estimates(found, labels, width, { title: { text: plain(what) }, zeroline: false, range }, (row, y) => {
      const rate = before(row);
      return rate ? [strokes([100 * rate.mean], y, 18, `before training ${percent(rate.mean)}`)] : [];
    });
  });
}

function differences(place, found) {
  if (!found.length) return place.append(nothing("There is no baseline here, so there are no differences to show."));
  const labels = found.map((row) => {
    const p = row.p === null ? "" : `, p ${row.p < 0.001 ? "< 0.001" : row.p.toFixed(3)}`;
    const [own, other] = [keyOf(row.configuration), keyOf(row.baseline)];
    const chance = `wins ${Math.round(100 * row.improvement)} % of pairs of runs`;
    return [`${own} against ${other}  ${points(row.mean)}  ${MARKS[row.verdict]} ${row.verdict}${p}; ${chance}`];
  });
  const title = `Differences: ${state.quantity} on ${state.split}, points`;
  figure(place, title, "Differences to the baseline by seed", (width) => {
    const axis = { title: { text: "points, against the baseline" }, zeroline: true, zerolinewidth: 2 };
    return estimates(found, labels, width, { ...axis, zerolinecolor: css("--text") }, (row, y) => {
      if (row.smallest === null || row.smallest >= 1) return []; // 1: none would be seen
      const text = `a difference of ${percent(row.smallest)} points would have been seen in 80 %`;
      return [strokes([-100 * row.smallest, 100 * row.smallest], y, 14, text)];
    });
  });
}

/* A range in per cent with everything that rates show. */
function around(found) {
  const values = found.flatMap((row) => [row.low, row.high, ...Object.values(row.values)]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = 0.05 * (high - low) + 0.01;
  return [100 * (low - margin), 100 * (high + margin)];
}

/* Configurations that no other one beats in success at less cost: the rule of the table of fronts. */
function front(spots) {
  const beats = (one, other) => (one.y >= other.y && one.x < other.x) || (one.y > other.y && one.x <= other.x);
  return spots.filter((own) => !spots.some((other) => beats(other, own))).sort((a, b) => a.x - b.x);
}

/* Where labels go beside their points, in pixels, so that they cover neither each other nor another point. */
function apart(pixels, width, height) {
  const placed = [];
  const angles = [0, 180, 45, 135, 225, 315, 90, 270].map((degrees) => (degrees * Math.PI) / 180);
  const offsets = [24, 40, 58, 80].flatMap((far) => angles.map((a) => [far * Math.cos(a), far * Math.sin(a)]));
  return pixels.map(([x, y], own) => {
    const free = ([dx, dy]) => {
      const near = ([px, py], least) => Math.hypot(x + dx - px, y + dy - py) < least;
      const inside = x + dx > 10 && x + dx < width - 10 && y + dy > 10 && y + dy < height - 10;
      const covers = pixels.some((other, number) => number !== own && near(other, 18));
      return inside && !covers && !placed.some((other) => near(other, 26));
    };
    const [dx, dy] = offsets.find(free) ?? offsets[0];
    placed.push([x + dx, y + dy]);
    return [dx, dy];
  });
}

function spotsOf(members, cost) {
  const names = members.filter((name) => rateOf(name, "final") && costOf(name));
  return names.map((name) => {
    const row = rateOf(name, "final");
    return { name, row, x: cost.of(costOf(name)), y: 100 * row.mean };
  });
}

function costs() {
  const parent = document.getElementById("cost-figures");
  const cost = COSTS[document.getElementById("cost").value];
  clear(parent);
  for (const [place, members] of grouped(parent, "")) {
    const spots = spotsOf(members, cost);
    if (spots.length) {
      figure(place, null, `${state.quantity} against ${cost.name}`, (width) => scatter(spots, cost, width));
      const marks = "● on the front   ✕ another one is at least as good for less";
      place.append(legend(spots.map((spot) => spot.name)), element("p", { class: "quiet" }, marks));
    } else place.append(nothing("No configuration has both a cost and a final success."));
  }
}

function scatter(spots, cost, width) {
  const best = front(spots);
  const most = Math.max(...spots.map((spot) => spot.x));
  const [left, right] = [-0.04 * most, 1.08 * most || 1];
  const [low, high] = around(spots.map((spot) => spot.row));
  const [wide, tall] = [width - 90, 364]; // of the area inside the axes
  const pixels = spots.map(({ x, y }) => [((x - left) / (right - left)) * wide, ((high - y) / (high - low)) * tall]);
  const shades = spots.map((spot) => colour(spot.name));
  const text = ({ name, row, x }) => {
    const interval = `[${percent(row.low)}, ${percent(row.high)}]`;
    return `${plain(name)}<br>${percent(row.mean)} % ${interval}<br>${cost.name}: ${cost.text(x)}`;
  };
  const line = {
    x: best.map((spot) => spot.x),
    y: best.map((spot) => spot.y),
    mode: "lines",
    line: { shape: "hv", color: css("--quiet"), width: 2, dash: "dot" },
    hoverinfo: "skip",
  };
  const marks = {
    x: spots.map((spot) => spot.x),
    y: spots.map((spot) => spot.y),
    mode: "markers",
    hoverinfo: "text",
    hovertext: spots.map(text),
    marker: { size: 11, color: shades, symbol: spots.map((spot) => (best.includes(spot) ? "circle" : "x")) },
    error_y: bars(spots.map((spot) => spot.row), css("--quiet"), 1, 3),
  };
  const letters = apart(pixels, wide, tall).map(([ax, ay], number) => {
    const { x, y, name } = spots[number];
    const shade = shades[number];
    const arrow = { ax, ay, arrowhead: 0, arrowwidth: 1, arrowcolor: shade, standoff: 5 };
    const font = { color: css("--on-key"), size: 12, weight: 700 };
    return { x, y, ...arrow, text: keyOf(name), font, bgcolor: shade, borderpad: 3 };
  });
  return {
    height: 420,
    margin: { l: 10, r: 20, t: 10, b: 46 },
    xaxis: { title: { text: cost.name }, range: [left, right], ...ticks(most, cost.text) },
    yaxis: { title: { text: `${state.quantity}, % (${plain(state.split)})` }, zeroline: false, range: [low, high] },
    annotations: letters,
    traces: [line, marks],
  };
}

const pointsOf = (names) => data.curves.filter((point) => names.includes(point.configuration));

function curves() {
  const parent = document.getElementById("curve-figures");
  clear(parent);
  if (!data.curves.length)
    return parent.append(nothing("No run has a learning curve: eval.curve_points is 0, or nothing was trained."));
  for (const [place, members] of grouped(parent)) {
    const drawn = members.filter((name) => pointsOf([name]).length);
    if (!drawn.length) place.append(nothing("No run of these has a learning curve."));
    for (const strategy of new Set(drawn.map((name) => byName.get(name).strategy))) {
      const names = drawn.filter((name) => byName.get(name).strategy === strategy);
      const phases = [...new Set(pointsOf(names).map((point) => point.phase))];
      const title = [`strategy ${strategy} `, ...names.flatMap((name) => [badge(name), " "])];
      figure(place, title, `Learning curves of ${strategy}`, () => panel(names, phases));
      const marks = phases.map((phase, number) => `${PHASE_MARKS[number % PHASES.length]} ${phase}`);
      place.lastChild.append(element("p", { class: "quiet" }, marks.join("   ")));
    }
  }
  parent.append(legend(data.configurations.map((each) => each.name).filter((name) => pointsOf([name]).length)));
}

/* The curves of one strategy; all panels have the same axes. */
function panel(names, phases) {
  const flops = data.curves.map((point) => point.flops);
  const [least, most] = [Math.min(...flops.filter((value) => value > 0)), Math.max(...flops)];
  const highest = Math.max(data.reach, ...data.curves.map((point) => point.high));
  const logarithmic = document.getElementById("scale").value === "log" && least < Infinity;
  const range = [Math.log10(least) - 0.08, Math.log10(most) + 0.08];
  const axis = logarithmic
    ? { type: "log", range, ...logTicks(least, most) }
    : { range: [0, 1.06 * most || 1], ...ticks(most, count) };
  const target = {
    x: logarithmic ? [least / 2, most * 2] : [0, 2 * most],
    y: [100 * data.reach, 100 * data.reach],
    mode: "lines",
    line: { color: css("--quiet"), dash: "dash", width: 1.5 },
    hoverinfo: "skip",
  };
  return {
    height: 300,
    margin: { l: 10, r: 26, t: 8, b: 44 },
    xaxis: { title: { text: "FLOPs" }, ...axis },
    yaxis: { title: { text: "success, %" }, range: [-3, Math.min(103, 100 * highest + 8)], zeroline: false },
    traces: [target, ...names.flatMap((name, number) => curve(name, number, phases))],
  };
}

function curve(name, number, phases) {
  const own = pointsOf([name]);
  const shade = colour(name);
  const text = ({ phase, flops, mean, low, high, seeds }) =>
    `${plain(name)}<br>${plain(phase)}, ${count(flops)} FLOPs<br>` +
    `${percent(mean)} % (${percent(low)} to ${percent(high)}, ${seeds} seed${seeds > 1 ? "s" : ""})`;
  const back = own.toReversed();
  const band = {
    x: [...own, ...back].map((point) => point.flops),
    y: [...own.map((point) => 100 * point.high), ...back.map((point) => 100 * point.low)],
    mode: "lines",
    line: { width: 0 },
    fill: "toself",
    fillcolor: faint(shade),
    hoverinfo: "skip",
  };
  const line = {
    x: own.map((point) => point.flops),
    y: own.map((point) => 100 * point.mean),
    mode: "lines+markers+text",
    hoverinfo: "text",
    hovertext: own.map(text),
    text: own.map((_, at) => (at === own.length - 1 ? keyOf(name) : "")),
    textposition: "middle right",
    textfont: { color: shade, weight: 700 },
    cliponaxis: false,
    line: { color: shade, width: 2, dash: DASHES[number % DASHES.length] },
    marker: { color: shade, size: 7, symbol: own.map(({ phase }) => PHASES[phases.indexOf(phase) % PHASES.length]) },
  };
  return own.some((point) => point.seeds > 1) ? [band, line] : [line];
}

function types() {
  const parent = document.getElementById("type-table");
  const base = document.getElementById("against").value === "base";
  const finals = rates.filter((row) => row.stage === "final" && row.quantity === state.quantity);
  const kinds = (split) => [...new Set(finals.filter((row) => row.split === split).map((row) => row.task_type))];
  const splits = data.splits.filter((split) => kinds(split).length);
  const columns = splits.flatMap((split) => kinds(split).map((kind) => [split, kind]));
  const found = (name, [split, kind]) => {
    if (!base) return differenceOf(name, kind, split);
    const [last, first] = ["final", "base"].map((stage) => rateOf(name, stage, kind, split));
    return last && first && { mean: last.mean - first.mean };
  };
  const names = data.configurations.map((each) => each.name).filter((name) => columns.some((at) => found(name, at)));
  const why = base
    ? "No model was evaluated before training."
    : "There is no baseline to compare with; choose the model before training.";
  if (!names.length) return parent.replaceChildren(nothing(why));
  const all = names.flatMap((name) => columns.map((at) => Math.abs(found(name, at)?.mean ?? 0)));
  const most = Math.max(0.01, ...all);
  const above = splits.map((split) =>
    element("th", { scope: "colgroup", colspan: kinds(split).length, class: "first" }, split));
  const heads = columns.map(([, kind]) =>
    element("th", { scope: "col", class: kind === "all" ? "first" : null }, kind.replaceAll("_", "_\u200b")));
  const lines = names.map((name) => {
    const tag = element("span", { class: "tag", title: name }, badge(name), element("span", { class: "name" }, name));
    const cells = columns.map((at) => heat(found(name, at), most, at[1] === "all"));
    return element("tr", {}, element("th", { scope: "row" }, tag), ...cells);
  });
  parent.replaceChildren(
    element("table", { class: "heat" },
      element("thead", {},
        element("tr", {}, element("td"), ...above),
        element("tr", {}, element("th", { scope: "col" }, "configuration"), ...heads)),
      element("tbody", {}, ...lines)),
  );
  if (base) parent.append(element("p", { class: "quiet" }, "These differences are not tested."));
}

function heat(row, most, first) {
  const attributes = { class: first ? "first" : null };
  if (!row) return element("td", attributes, "–");
  const shade = `var(--${row.mean < 0 ? "less" : "more"}) ${Math.round((70 * Math.abs(row.mean)) / most)}%`;
  attributes.style = `background:color-mix(in srgb, ${shade}, transparent)`;
  if (row.verdict) attributes.title = `[${points(row.low)}, ${points(row.high)}], ${row.verdict}`;
  return element("td", attributes, points(row.mean) + ({ better: " ▲", worse: " ▼" }[row.verdict] ?? ""));
}
