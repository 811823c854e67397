"use strict";
/* Sections 6 and 7, routers and the costs of phases; and what begins it all. */

const PATTERNS = ["", "/", ".", "x", "\\", "-", "|", "+"];

const patterned = (shade, shape, size = 7) => ({
  color: shade,
  line: { width: 0.5, color: css("--card") },
  pattern: { shape, bgcolor: shade, fgcolor: css("--card"), size, solidity: 0.25 },
});

function scores() {
  const parent = document.getElementById("score-figures");
  const seed = Number(document.getElementById("score-seed").value);
  clear(parent);
  for (const router of data.routers) {
    const found = router.histograms.find((each) => each.seed === seed);
    const threshold = found ? `, threshold ${found.threshold.toPrecision(3)} (dashed)` : "";
    const caption = [badge(router.configuration), ` ${byName.get(router.configuration).router}${threshold}`];
    if (found) figure(parent, caption, `Scores of ${router.configuration}`, () => histogram(found));
    else {
      const missing = nothing(`There is no run with seed ${seed}.`);
      parent.append(element("figure", {}, element("figcaption", {}, ...caption), missing));
    }
  }
}

function histogram({ edges, sft, rl, threshold }) {
  const from = (place) => `${edges[place].toPrecision(4)} to ${edges[place + 1].toPrecision(4)}`;
  const part = (name, counts, shade, shape) => ({
    type: "bar",
    x: counts.map((_, place) => (edges[place] + edges[place + 1]) / 2),
    y: counts,
    width: edges[1] - edges[0],
    name,
    hoverinfo: "text",
    hovertext: counts.map((each, place) => `${each} to ${name}<br>${from(place)}`),
    textposition: "none",
    marker: patterned(shade, shape, 6),
  });
  const line = { color: css("--text"), dash: "dash", width: 1.5 };
  return {
    height: 250,
    barmode: "stack",
    showlegend: true,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    margin: { l: 10, r: 10, t: 34, b: 42 },
    xaxis: { title: { text: "score" }, nticks: 6 },
    yaxis: { title: { text: "trajectories" }, rangemode: "tozero" },
    shapes: [{ type: "line", x0: threshold, x1: threshold, yref: "paper", y0: 0, y1: 1, line }],
    traces: [part("SFT", sft, css("--c0"), ""), part("RL", rl, css("--c1"), "/")],
  };
}

function norms() {
  const parent = document.getElementById("norm-figures");
  const probed = data.routers.filter((router) => router.norms);
  if (!probed.length) parent.append(nothing("No router here reads gradients."));
  for (const { configuration, matrices, norms: { sft, rl } } of probed) {
    const place = element("div", { class: "grid thirds" });
    parent.append(element("p", {}, badge(configuration), ` ${configuration}`), place);
    const more = rl.map((row, layer) => row.map((value, at) => (sft[layer][at] ? value / sft[layer][at] - 1 : 0)));
    const most = Math.max(...sft.flat(), ...rl.flat());
    const wide = Math.max(0.05, ...more.flat().map(Math.abs));
    const rising = () => [[0, css("--card")], [1, css("--c0")]];
    const both = () => [[0, css("--less")], [0.5, css("--card")], [1, css("--more")]];
    const map = (title, z, range, colours, text) =>
      figure(place, title, `${title}, ${configuration}`, () => layers(matrices, z, range, colours(), text));
    map("trajectories to SFT: norm / mean norm", sft, [0, most], rising, (value) => value.toFixed(2));
    map("trajectories to RL: norm / mean norm", rl, [0, most], rising, (value) => value.toFixed(2));
    map("RL more or less than SFT", more, [-wide, wide], both, (value) => `${points(value)} %`);
  }
}

function layers(matrices, z, [zmin, zmax], colorscale, text) {
  const names = matrices.map(plain);
  const label = (value, layer, at) => `layer ${layer}, ${names[at]}<br>${text(value)}`;
  return {
    height: 150 + 18 * Math.min(z.length, 16),
    margin: { l: 10, r: 10, t: 6, b: 60 },
    xaxis: { tickangle: -40, showgrid: false, type: "category" },
    yaxis: { title: { text: "layer" }, showgrid: false, dtick: Math.ceil(z.length / 8), autorange: "reversed" },
    traces: [{
      type: "heatmap",
      x: names,
      z,
      zmin,
      zmax,
      colorscale,
      xgap: 1,
      ygap: 1,
      hoverinfo: "text",
      hovertext: z.map((row, layer) => row.map((value, at) => label(value, layer, at))),
      colorbar: { thickness: 10, outlinewidth: 0, tickformat: zmin < 0 ? "+.0%" : "" },
    }],
  };
}

function phases() {
  const parent = document.getElementById("phase-figures");
  const cost = COSTS[document.getElementById("phase-cost").value];
  clear(parent);
  const all = tables.costs.filter((row) => row.phase !== "method");
  const names = [...new Set(all.map((row) => row.configuration))];
  if (!names.length) return parent.append(nothing("No run has a ledger."));
  const order = [...new Set(all.map((row) => row.phase))].sort((a, b) => (a === "eval") - (b === "eval"));
  const swatches = order.map((phase, number) => {
    const pattern = PATTERNS[number % PATTERNS.length];
    return element("span", { class: `swatch c${number % COLOURS}`, "data-pattern": pattern }, phase);
  });
  const title = element("span", { class: "legend" }, ...swatches);
  figure(parent, title, `${cost.name} by phase`, (width) => stacks(names, order, cost, width));
}

function stacks(names, order, cost, width) {
  const value = (name, phase) => (costOf(name, phase) ? cost.of(costOf(name, phase)) : 0);
  const sums = names.map((name) => order.reduce((sum, phase) => sum + value(name, phase), 0));
  const labels = names.map((name, at) => [`${keyOf(name)}  ${name}: ${cost.text(sums[at])}`]);
  const { ys, total, annotations, yaxis } = rows(labels, width, 16);
  const text = (name, phase, at) => {
    const spent = value(name, phase);
    return `${plain(name)}<br>${plain(phase)}: ${cost.text(spent)}, ${percent(spent / (sums[at] || 1))} %`;
  };
  return {
    height: total + 48,
    barmode: "stack",
    margin: { l: 8, r: 20, t: 2, b: 44 },
    annotations,
    yaxis,
    xaxis: { title: { text: cost.name }, ...ticks(Math.max(...sums), cost.text) },
    traces: order.map((phase, number) => ({
      type: "bar",
      orientation: "h",
      x: names.map((name) => value(name, phase)),
      y: ys,
      width: names.map(() => 16),
      hoverinfo: "text",
      hovertext: names.map((name, at) => text(name, phase, at)),
      textposition: "none",
      marker: patterned(css(`--c${number % COLOURS}`), PATTERNS[number % PATTERNS.length]),
    })),
  };
}

function onChange(id, ...draw) {
  document.getElementById(id).addEventListener("change", () => draw.forEach((each) => each()));
}

function beginSections() {
  for (const name of Object.keys(state)) {
    const select = document.getElementById(name);
    onChange(name, () => { state[name] = select.value; }, success, costs, types);
  }
  onChange("cost", costs);
  onChange("scale", curves);
  onChange("against", types);
  onChange("phase-cost", phases);
  document.getElementById("quantity-label").hidden = !tables.rates.some((row) => row.quantity === "score");
  if (!tables.differences.length) document.getElementById("against").value = "base";
  for (const draw of [success, costs, curves, types, phases]) draw();
  const seeds = document.getElementById("score-seed");
  if (!seeds) return;
  const found = new Set(data.routers.flatMap((router) => router.histograms.map((each) => each.seed)));
  seeds.append(...[...found].map((seed) => element("option", {}, String(seed))));
  onChange("score-seed", scores);
  scores();
  norms();
}

function beginTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => redrawAll());
  document.getElementById("theme").addEventListener("click", () => {
    const root = document.documentElement.dataset;
    const shown = root.theme ?? (dark.matches ? "dark" : "light");
    root.theme = shown === "dark" ? "light" : "dark";
    redrawAll();
  });
}

function beginWindow() {
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => redrawAll((place, figure) => place.clientWidth !== figure.width), 120);
  });
  document.addEventListener("click", ({ target }) => {
    if (!target.matches("button.copy")) return;
    getSelection().selectAllChildren(target.parentElement.querySelector("code"));
    target.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    setTimeout(() => { target.textContent = "Copy"; }, 1500);
  });
}

beginSections();
beginTheme();
beginWindow();
