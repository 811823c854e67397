"use strict";
/* Section 8: filters, a list of tasks, and the episodes of one task side by side, step by step. */

const browser = { collection: "evaluated", task: 0, step: 1, hidden: new Set() };

async function unpack(id) {
  const bytes = Uint8Array.from(atob(JSON.parse(document.getElementById(id).textContent)), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const byId = (id) => document.getElementById(id);
const chosen = (name) => byId(`filter-${name}`)?.value ?? "all";
const decisionFilters = (packed) => [...new Set(packed.demonstrations.flatMap((each) => Object.keys(each.decisions)))];

/* What a filter offers: its label, and [value, text] of every choice. */
function filtersOf(packed) {
  const any = [["all", "all"]];
  const own = (key) => [...any, ...[...new Set(packed[browser.collection].map((each) => each[key]))].sort().map((each) => [each, each])];
  const solved = [...any, ["yes", "solved"], ["no", "not solved"]];
  if (browser.collection === "demonstrations") {
    const routers = decisionFilters(packed).map((name, number) => [`router${number}`, `${keyOf(name)} sent it to`, [...any, ["sft", "SFT"], ["rl", "RL"]]]);
    return [["type", "Task type", own("type")], ...routers];
  }
  const finals = packed.policies.filter((policy) => policy.stage === "final").map((policy) => [policy.name, policy.name]);
  return [
    ["split", "Split", own("split")],
    ["type", "Task type", own("type")],
    ["before", "Before training", solved],
    ["configuration", "Configuration", [["all", "every"], ...finals]],
    ["after", "After training", [...solved, ["differs", "policies differ"]]],
  ];
}

/* Success of the base model and of the chosen final policies on a task. */
function successes(packed, task, configuration) {
  const of = (stage) => Object.entries(task.episodes)
    .filter(([number]) => {
      const policy = packed.policies[number];
      return policy.stage === stage && (configuration === "all" || policy.configurations.includes(configuration));
    })
    .map(([, episode]) => episode.success);
  return { before: of("base"), after: of("final") };
}

function matches(packed, task) {
  if (chosen("type") !== "all" && task.type !== chosen("type")) return false;
  if (browser.collection === "demonstrations")
    return decisionFilters(packed).every((name, number) => {
      const wanted = chosen(`router${number}`);
      return wanted === "all" || (name in task.decisions && task.decisions[name][0] === (wanted === "rl"));
    });
  if (chosen("split") !== "all" && task.split !== chosen("split")) return false;
  const { before, after } = successes(packed, task, chosen("configuration"));
  const all = (values, wanted) => wanted === "all" || (values.length > 0 && values.every((value) => value === (wanted === "yes")));
  const differs = new Set(chosen("configuration") === "all" ? after : [...before, ...after]).size > 1;
  return all(before, chosen("before")) && (chosen("after") === "differs" ? differs : all(after, chosen("after")));
}

function outcome(packed, task) {
  if (browser.collection === "demonstrations") return Object.entries(task.decisions).map(([name, [rl]]) => `${keyOf(name)}→${rl ? "RL" : "SFT"}`).join(" ");
  const { after } = successes(packed, task, "all");
  return `${after.filter(Boolean).length} of ${after.length} solve`;
}

function showFilters(packed) {
  byId("filters").replaceChildren(...filtersOf(packed).map(([name, label, choices]) =>
    element("label", {}, `${label} `, element("select", { id: `filter-${name}`, onchange: () => showTasks(packed) },
      ...choices.map(([value, text]) => element("option", { value }, text))))));
  showTasks(packed);
}

function showTasks(packed) {
  const all = packed[browser.collection];
  const found = all.map((task, number) => [task, number]).filter(([task]) => matches(packed, task));
  byId("found").textContent = `(${found.length} of ${all.length} match)`;
  byId("tasks").replaceChildren(...found.map(([task, number]) =>
    element("option", { value: number }, [outcome(packed, task), task.split, task.task].filter(Boolean).join(" · "))));
  browser.task = found.length ? found[0][1] : null;
  byId("tasks").value = String(browser.task);
  browser.step = 1;
  showTask(packed);
}

function showTask(packed) {
  const task = browser.task === null ? null : packed[browser.collection][browser.task];
  const episodes = task ? Object.entries(task.episodes) : [];
  const longest = Math.max(1, ...episodes.map(([, episode]) => episode.steps.length));
  browser.step = Math.min(Math.max(1, browser.step), longest);
  byId("step").max = longest;
  byId("step").value = browser.step;
  byId("previous").disabled = browser.step === 1;
  byId("next").disabled = browser.step === longest;
  byId("step-text").textContent = task ? `step ${browser.step} of ${longest}` : "";
  byId("decisions").replaceChildren(...(task?.decisions ? [element("p", {}, "Only the expert has episodes of the tasks of demonstrations. ",
    ...Object.entries(task.decisions).flatMap(([name, [rl, score]]) => [badge(name), ` ${name} sent it to ${rl ? "RL" : "SFT"}, score ${score.toPrecision(4)}. `]))] : []));
  const tops = new Map([...byId("columns").querySelectorAll("article")].map((each) => [each.dataset.policy, each.querySelector("ol")?.scrollTop]));
  byId("columns").replaceChildren(...(task ? episodes.map(([number, episode]) => column(packed, number, episode)) : [nothing("No task matches these filters.")]));
  for (const each of byId("columns").querySelectorAll("article")) {
    const list = each.querySelector("ol");
    const current = list.querySelector("[aria-current]");
    list.scrollTop = tops.get(each.dataset.policy) ?? 0;
    if (current) list.scrollTop = Math.min(Math.max(list.scrollTop, current.offsetTop + current.offsetHeight - list.clientHeight), current.offsetTop);
  }
}

function column(packed, number, episode) {
  const policy = packed.policies[number];
  const text = (place) => packed.texts[place];
  const step = episode.steps[browser.step - 1];
  const title = policy.stage === "final" ? [badge(policy.name), ` ${policy.name}`] : [policy.name];
  const part = (name, content, className) => [element("h5", {}, name), element("pre", { class: className, tabindex: className === "observation" ? 0 : null }, content)];
  const said = step && step[3] >= 0 ? part("Completion", text(step[3]), "completion") : [];
  const now = step
    ? [...part("Observation", text(step[0]), "observation"), ...said, ...part("Action", text(step[1]), "action"), element("p", { class: "reward" }, `Reward ${step[2]}`)]
    : [element("p", { class: "quiet ended" }, `Ended after step ${episode.steps.length}.`)];
  const list = element("ol", { "aria-label": `All actions of ${policy.name}` }, ...episode.steps.map((each, place) =>
    element("li", { "aria-current": place === browser.step - 1 ? "step" : null },
      element("button", { type: "button", onclick: () => { browser.step = place + 1; showTask(packed); } }, text(each[1]), each[2] ? element("small", {}, ` ${each[2] > 0 ? "+" : ""}${each[2]}`) : null))));
  return element("article", { "data-policy": policy.name },
    element("h4", {}, ...title),
    element("p", { class: `outcome ${episode.success ? "better" : "worse"}` }, `${episode.success ? "✓ solved" : "✗ not solved"}, score ${episode.score}, ${episode.steps.length} step${episode.steps.length > 1 ? "s" : ""}`),
    ...now, element("h5", {}, "All actions"), list);
}

async function browse() {
  const packed = await unpack("episodes");
  const collections = ["evaluated", "demonstrations"].filter((name) => packed[name].length);
  if (!collections.length) return;
  byId("no-episodes").hidden = true;
  byId("browser").hidden = false;
  for (const option of byId("collection").options) option.disabled = !collections.includes(option.value);
  browser.collection = byId("collection").value = collections[0];
  const go = (step) => { browser.step = step; showTask(packed); };
  byId("collection").addEventListener("change", ({ target }) => { browser.collection = target.value; showFilters(packed); });
  byId("tasks").addEventListener("change", ({ target }) => { browser.task = Number(target.value); go(1); });
  byId("previous").addEventListener("click", () => go(browser.step - 1));
  byId("next").addEventListener("click", () => go(browser.step + 1));
  byId("step").addEventListener("input", ({ target }) => go(Number(target.value)));
  byId("columns").addEventListener("keydown", (event) => {
    if (event.target !== byId("columns") || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    event.preventDefault();
    go(browser.step + (event.key === "ArrowRight" ? 1 : -1));
  });
  showFilters(packed);
}

browse().finally(() => { document.documentElement.dataset.ready = ""; });
