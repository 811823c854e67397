"use strict";
/* Section 8: filters, a list of tasks, and the episodes of one task side by side, step by step. */

const browser = { packed: null, collection: "evaluated", task: null, step: 1 };

async function unpack(id) {
  const text = atob(JSON.parse(document.getElementById(id).textContent));
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const byId = (id) => document.getElementById(id);
const chosen = (name) => byId(`filter-${name}`)?.value ?? "all";
const tasksHere = () => browser.packed[browser.collection];
const demonstrationsHere = () => browser.collection === "demonstrations";
const deciding = () => [...new Set(browser.packed.demonstrations.flatMap((each) => Object.keys(each.decisions)))];

/* The filters of a collection: name, label, and [value, text] of every choice. */
function filters() {
  const any = ["all", "all"];
  const values = (key) => [...new Set(tasksHere().map((each) => each[key]))].sort();
  const found = (key) => [any, ...values(key).map((value) => [value, value])];
  if (demonstrationsHere()) {
    const parts = [any, ["sft", "SFT"], ["rl", "RL"]];
    const routers = deciding().map((name, number) => [`router${number}`, `${keyOf(name)} sent it to`, parts]);
    return [["type", "Task type", found("type")], ...routers];
  }
  const solved = [any, ["yes", "solved"], ["no", "not solved"]];
  const finals = browser.packed.policies.filter((policy) => policy.stage === "final");
  return [
    ["split", "Split", found("split")],
    ["type", "Task type", found("type")],
    ["before", "Before training", solved],
    ["configuration", "Configuration", [["all", "every"], ...finals.map(({ name }) => [name, name])]],
    ["after", "After training", [...solved, ["differs", "policies differ"]]],
  ];
}

/* Success on a task of the policies of a stage, of one configuration or of all. */
function successes(task, stage, configuration = "all") {
  const wanted = ([number]) => {
    const policy = browser.packed.policies[number];
    return policy.stage === stage && (configuration === "all" || policy.configurations.includes(configuration));
  };
  return Object.entries(task.episodes).filter(wanted).map(([, episode]) => episode.success);
}

function matches(task) {
  const fits = (name, value) => chosen(name) === "all" || chosen(name) === value;
  if (!fits("type", task.type)) return false;
  if (demonstrationsHere())
    return deciding().every((name, number) => {
      const decision = task.decisions[name];
      return fits(`router${number}`, decision && (decision[0] ? "rl" : "sft"));
    });
  const configuration = chosen("configuration");
  const before = successes(task, "base", configuration);
  const after = successes(task, "final", configuration);
  const all = (values, wanted) =>
    wanted === "all" || (values.length > 0 && values.every((value) => value === (wanted === "yes")));
  const differs = () => new Set(configuration === "all" ? after : [...before, ...after]).size > 1;
  const ended = chosen("after") === "differs" ? differs() : all(after, chosen("after"));
  return fits("split", task.split) && all(before, chosen("before")) && ended;
}

function outcome(task) {
  if (demonstrationsHere()) {
    const decisions = Object.entries(task.decisions);
    return decisions.map(([name, [rl]]) => `${keyOf(name)}→${rl ? "RL" : "SFT"}`).join(" ");
  }
  const after = successes(task, "final");
  return `${after.filter(Boolean).length} of ${after.length} solve`;
}

function showFilters() {
  const selects = filters().map(([name, label, choices]) => {
    const options = choices.map(([value, text]) => element("option", { value }, text));
    const select = element("select", { id: `filter-${name}`, onchange: showTasks }, ...options);
    return element("label", {}, `${label} `, select);
  });
  byId("filters").replaceChildren(...selects);
  showTasks();
}

function showTasks() {
  const found = [...tasksHere().entries()].filter(([, task]) => matches(task));
  const options = found.map(([number, task]) => {
    const words = [outcome(task), task.split, task.task].filter(Boolean);
    return element("option", { value: number }, words.join(" · "));
  });
  byId("found").textContent = `(${found.length} of ${tasksHere().length} match)`;
  byId("tasks").replaceChildren(...options);
  byId("tasks").selectedIndex = 0;
  browser.task = found.length ? found[0][1] : null;
  go(1);
}

function go(step) {
  const episodes = Object.entries(browser.task?.episodes ?? {});
  const longest = Math.max(1, ...episodes.map(([, episode]) => episode.steps.length));
  browser.step = Math.min(Math.max(1, step), longest);
  byId("step").max = longest;
  byId("step").value = browser.step;
  byId("previous").disabled = browser.step === 1;
  byId("next").disabled = browser.step === longest;
  byId("step-text").textContent = browser.task ? `step ${browser.step} of ${longest}` : "";
  byId("decisions").replaceChildren(...decisions());
  const lists = () => new Map([...byId("columns").querySelectorAll("ol")].map((each) => [each.ariaLabel, each]));
  const before = new Map([...lists()].map(([name, list]) => [name, list.scrollTop]));
  const columns = episodes.map(([number, episode]) => column(browser.packed.policies[number], episode));
  byId("columns").replaceChildren(...(columns.length ? columns : [nothing("No task matches these filters.")]));
  for (const [name, list] of lists()) keepInView(list, before.get(name) ?? 0);
}

/* Scroll a list to where it was, and from there as little as shows its current item. */
function keepInView(list, before) {
  list.scrollTop = before;
  const current = list.querySelector("[aria-current]");
  if (!current) return;
  const lowest = current.offsetTop + current.offsetHeight - list.clientHeight;
  list.scrollTop = Math.min(Math.max(list.scrollTop, lowest), current.offsetTop);
}

function decisions() {
  if (!browser.task?.decisions) return [];
  const words = Object.entries(browser.task.decisions).flatMap(([name, [rl, score]]) => [
    badge(name),
    ` ${name} sent it to ${rl ? "RL" : "SFT"}, score ${score.toPrecision(4)}. `,
  ]);
  return [element("p", {}, "Only the expert has episodes of the tasks of demonstrations. ", ...words)];
}

function column(policy, episode) {
  const text = (place) => browser.packed.texts[place];
  const part = (name, place, kind) => [
    element("h5", {}, name),
    element("pre", { class: kind, tabindex: kind === "observation" ? 0 : null }, text(place)),
  ];
  const actions = episode.steps.map(([, action, reward], at) => {
    const earned = reward ? element("small", {}, ` ${reward > 0 ? "+" : ""}${reward}`) : null;
    const button = element("button", { type: "button", onclick: () => go(at + 1) }, text(action), earned);
    return element("li", { "aria-current": at === browser.step - 1 ? "step" : null }, button);
  });
  const name = policy.stage === "final" ? [badge(policy.name), ` ${policy.name}`] : [policy.name];
  const steps = `${episode.steps.length} step${episode.steps.length > 1 ? "s" : ""}`;
  const solved = `${episode.success ? "✓ solved" : "✗ not solved"}, score ${episode.score}, ${steps}`;
  const [observation, action, reward, completion] = episode.steps[browser.step - 1] ?? [];
  const now = observation === undefined
    ? [element("p", { class: "quiet ended" }, `Ended after step ${episode.steps.length}.`)]
    : [
      ...part("Observation", observation, "observation"),
      ...(completion >= 0 ? part("Completion", completion, "completion") : []),
      ...part("Action", action, "action"),
      element("p", { class: "reward" }, `Reward ${reward}`),
    ];
  return element("article", {},
    element("h4", {}, ...name),
    element("p", { class: `outcome ${episode.success ? "better" : "worse"}` }, solved),
    ...now,
    element("h5", {}, "All actions"),
    element("ol", { "aria-label": `All actions of ${policy.name}` }, ...actions));
}

function stepByKey(event) {
  const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.target !== byId("columns") || !direction) return;
  event.preventDefault();
  go(browser.step + direction);
}

async function browse() {
  browser.packed = await unpack("episodes");
  const collections = ["evaluated", "demonstrations"].filter((name) => browser.packed[name].length);
  if (!collections.length) return;
  byId("no-episodes").hidden = true;
  byId("browser").hidden = false;
  for (const option of byId("collection").options) option.disabled = !collections.includes(option.value);
  browser.collection = byId("collection").value = collections[0];
  byId("collection").addEventListener("change", ({ target }) => {
    browser.collection = target.value;
    showFilters();
  });
  byId("tasks").addEventListener("change", ({ target }) => {
    browser.task = tasksHere()[target.value];
    go(1);
  });
  byId("previous").addEventListener("click", () => go(browser.step - 1));
  byId("next").addEventListener("click", () => go(browser.step + 1));
  byId("step").addEventListener("input", ({ target }) => go(Number(target.value)));
  byId("columns").addEventListener("keydown", stepByKey);
  showFilters();
}

Promise.all([browse(), plotly]).finally(() => {
  document.documentElement.dataset.ready = "";
  performance.mark("ready");
});
