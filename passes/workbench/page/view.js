// SPDX-License-Identifier: Apache-2.0
// What is shown: one graph, one of its passes, the graph before and after it block by block. The place is kept behind the # of the address: GRAPH/PASS or
// GRAPH/PASS/arena.

const byId = (id) => document.getElementById(id);
const state = { graph: null, step: null, view: "graph", open: new Set(), query: "", hit: -1, selected: null, zoom: { wide: 1, high: 1 }, before: null, after: null };

function choose(graph, step, view) {
  if (graph !== state.graph) state.selected = null;
  state.graph = graph, state.step = step, state.view = view;
  state.before = readShot(graph, step.before, step.names[0]);
  state.after = readShot(graph, step.after, step.names[1]);
  markChanges(state.before, state.after, step.heirs);
  state.blocks = { before: blocksOf(state.before), after: blocksOf(state.after) };
  if (state.blocks.before.has("all") || state.blocks.after.has("all")) state.open.add("all");
  history.replaceState(null, "", `#${graph.name}/${encodeURIComponent(step.pass)}${view === "arena" ? "/arena" : ""}`);
  show();
}

const sides = ["before", "after"];

// ---- head and passes ---------------------------------------------------------------------------------------------

function showHead() {
  const at = state.graph.at, times = data.device ? `; times predicted for ${data.device}` : "";
  byId("about").replaceChildren(html("b", {}, data.input), ` for ${data.target}. Cost of a step of @${state.graph.class}: T = ${at[0]}, S = ${at[1]}, C = ${at[2]}, R = ${at[3]}${times}`);
  byId("about").title = data.pipeline;
  byId("graphs").replaceChildren(...data.graphs.map((graph) => {
    const button = html("button", { type: "button", role: "tab", "aria-selected": graph === state.graph }, `@${graph.name}`);
    button.onclick = () => choose(graph, graph.steps.find((step) => step.pass === state.step.pass) || firstStep(graph), state.view);
    return button;
  }));
  byId("view-graph").setAttribute("aria-pressed", state.view === "graph");
  byId("view-arena").setAttribute("aria-pressed", state.view === "arena");
}

function countEvents(step) {
  const fired = step.events.filter((event) => !event[2]).length, missed = step.events.length - fired;
  return [fired ? `${fired} fired` : "", missed ? `${missed} missed` : ""].filter(Boolean).join(", ") || (step.before === step.after ? "no change" : "");
}

function showSteps() {
  byId("steps").replaceChildren(...state.graph.steps.map((step) => {
    const button = html("button", { type: "button", "data-pass": step.pass, "aria-current": step === state.step ? "step" : undefined, class: step.before === step.after ? "idle" : "" },
                        step.pass, html("small", {}, countEvents(step)));
    button.onclick = () => choose(state.graph, step, state.view);
    return html("li", {}, button);
  }));
  const groups = [...new Set(sides.flatMap((side) => state[side].ops.map((op) => op.record.group)))].filter(Boolean);
  byId("legend").replaceChildren(
    ...[["gone", "removed by the pass"], ["changed", "changed, or put into a group"], ["new", "made by it"], ["hit", "found"], ["product", "product"],
       ["row", "along a row"], ["special", "special"], ["view", "view"]].map(([mark, text]) => html("div", {}, html("i", { class: `mark ${mark}` }), text)),
    ...groups.map((group) => {
      const swatch = html("i", { class: "mark swatch" });
      swatch.style.setProperty("--hue", groupHue(group));
      return html("div", { title: data.groups[group] }, swatch, group);
    }));
}

// ---- totals and blocks -------------------------------------------------------------------------------------------

const columns = [["launches", "launches", String], ["bytes_read", "read", bytesText], ["bytes_written", "written", bytesText], ["flops", "arithmetic", flopsText],
                 ["arena", "arena", bytesText], ["seconds", "time", timeText]];

function totals(side) {
  const cost = state[side].shot.cost, before = state.before.shot.cost;
  const parts = columns.filter(([key]) => cost[key] !== undefined).map(([key, name, text]) => {
    const percent = side === "after" && before[key] ? (cost[key] / before[key] - 1) * 100 : 0;
    const moved = Math.abs(percent) >= 0.05 ? html("em", { class: percent < 0 ? "less" : "more" }, `${percent > 0 ? "+" : "−"}${Math.abs(percent).toFixed(1)} %`) : null;
    return html("span", {}, html("small", {}, name), ` ${text(cost[key])} `, moved);
  });
  return html("div", { class: "totals" }, html("h2", {}, state.step.pass === "no pass" ? "as it is" : `${side} ${state.step.pass}`), ...parts);
}

const count = (number, what) => `${number} ${what}${number === 1 ? "" : "s"}`;
const sum = (ops, what) => ops.reduce((total, op) => total + what(op), 0);
const insideOf = (ops) => ops.flatMap((op) => [op, ...op.members]);

function blockSummary(side, key) {
  const ops = state.blocks[side].get(key) || [], all = insideOf(ops);
  const marks = ["gone", "changed", "new"].map((mark) => [mark, all.filter((op) => op.change === mark).length]).filter(([, number]) => number);
  const hits = state.query ? all.filter(isHit).length : 0, groups = ops.filter((op) => op.members.length).length;
  const seconds = ops.some((op) => op.seconds !== undefined) ? ` · ${timeText(sum(ops, (op) => op.seconds))}` : "";
  const bar = html("span", { class: "bar" });
  bar.style.width = `${state.most ? sum(ops, weight) / state.most * 100 : 0}%`;
  return html("span", { class: "summary" },
    html("span", {}, `${count(all.length - groups, "operation")}${groups ? ` in ${count(groups, "group")}` : ""} · ${bytesText(sum(ops, moved))}${seconds}`),
    ...marks.map(([mark, number]) => html("span", { class: `chip ${mark}` }, `${number} ${mark}`)),
    hits ? html("span", { class: "chip hit" }, `${hits} found`) : null, html("span", { class: "track" }, bar));
}

function blockHead(key) {
  const head = html("button", { type: "button", class: "head", "aria-expanded": state.open.has(key) }, html("b", {}, blockTitle(key)), ...sides.map((side) => blockSummary(side, key)));
  head.onclick = () => { if (!state.open.delete(key)) state.open.add(key); rowOf(key).replaceWith(blockRow(key)); };
  return head;
}

const rowOf = (key) => document.querySelector(`[data-block="${key}"]`);

function blockRow(key) {
  const row = html("section", { "data-block": key }, blockHead(key)), room = (byId("main").clientWidth - 40) / 2;
  if (!state.open.has(key)) return row;
  row.append(html("div", { class: "pictures" }, ...sides.map((side) => html("div", { class: side }, drawBlock(state.blocks[side].get(key) || [], state[side], room)))));
  markHits(row);
  return row;
}

function blockKeys() {
  return [...new Set(sides.flatMap((side) => [...state.blocks[side].keys()]))].sort((a, b) => blockPlace(a) - blockPlace(b));
}

function showGraph() {
  state.most = Math.max(...sides.flatMap((side) => [...state.blocks[side].values()].map((ops) => sum(ops, weight))));
  byId("main").replaceChildren(html("div", { class: "heads" }, ...sides.map(totals)), ...blockKeys().map(blockRow));
}

function zoomButtons() {
  return [["wider", "wide", 2], ["narrower", "wide", 0.5], ["higher", "high", 2], ["lower", "high", 0.5]].map(([text, way, by]) => {
    const button = html("button", { type: "button" }, text);
    button.onclick = () => { state.zoom[way] = Math.min(64, Math.max(1, state.zoom[way] * by)); showArena(); markHits(byId("main")); };
    return button;
  });
}

function showArena() {
  const shot = state.after, planned = state.graph.steps.find((step) => state.graph.shots[step.after].arena > 0);
  if (shot.shot.arena > 0) {
    const { drawn, note } = drawArena(shot, (byId("main").clientWidth - 30) * state.zoom.wide, Math.max(200, byId("main").clientHeight - 130) * state.zoom.high);
    byId("main").replaceChildren(html("p", { class: "note" }, `${note} `, ...zoomButtons()), html("div", { class: "scroll" }, drawn));
    return;
  }
  const note = html("p", { class: "note" }, planned ? "No places yet behind this pass. " : "No pass has given this graph's values places in an arena.");
  if (planned) {
    const button = html("button", { type: "button" }, `show ${planned.pass}`);
    button.onclick = () => choose(state.graph, planned, "arena");
    note.append(button);
  }
  byId("main").replaceChildren(note);
}

// ---- one operation -----------------------------------------------------------------------------------------------

const valueText = (value) => {
  const source = origin(value), name = source === value ? value.name : `${value.name} = ${source.name}`;
  return `${name}${source.source && source.source.name ? ` ${JSON.stringify(source.source.name)}` : ""}: ${value.type}, ${bytesText(value.bytes)}`;
};

function dimsText(op, shot) {
  const words = new Set([...op.operands, ...op.results].flatMap((value) => value.type.split(/[^\w.]+/)));
  return shot.shot.dims.filter(([name]) => words.has(name)).map(([name, sum]) => `${name} = ${sum}`);
}

function describe(op, shot) {
  const [role, doc] = data.kinds[op.kind], group = op.record.group, record = op.record;
  const cost = op.parent ? [] : [`read ${bytesText(record.read)}, written ${bytesText(record.written)}, ${flopsText(record.flops)}${op.seconds === undefined ? "" : `, ${timeText(op.seconds)}`}`];
  return [
    html("pre", {}, opText(op)),
    html("p", {}, group ? `group ${group}: ${data.groups[group]}` : `${op.kind}${role ? ` (${role})` : ""}: ${doc}`),
    ...cost.map((text) => html("p", { class: "cost" }, text)),
    ...op.operands.map((value) => html("p", { class: "value" }, `in  ${valueText(value)}`)),
    ...op.results.map((value) => html("p", { class: "value" }, `out ${valueText(value)}`)),
    ...dimsText(op, shot).map((text) => html("p", { class: "value" }, text)),
  ];
}

function link(op, side) {
  const button = html("button", { type: "button", class: "link" }, `${op.results.map((v) => v.name).join(", ")} ${op.record.group || op.kind}`);
  button.onclick = () => goTo(op, side);
  return button;
}

// What the rules said of it.
function eventLines(op) {
  return state.step.events.filter(([id]) => id === op.id).map(([, rule, missing, operand]) => {
    const value = operand && (state.before.values.get(operand) || state.after.values.get(operand));
    return html("p", { class: missing ? "missed" : "fired" }, missing ? `${rule} missed: ${missing}${value ? ` (${value.name})` : ""}` : `${rule} fired`);
  });
}

function showDetails() {
  const panel = byId("details");
  panel.hidden = !state.selected;
  for (const box of document.querySelectorAll(".selected")) box.classList.remove("selected");
  if (!state.selected) return;
  const { id, side } = state.selected, shot = state[side], op = shot.all.find((o) => o.id === id);
  panel.hidden = !op;
  if (!op) return;
  for (const box of document.querySelectorAll(`[data-op="${id}"]`)) box.classList.add("selected");
  const makers = [...new Set(op.operands.map((value) => value.maker))].filter(Boolean), readers = [...new Set(op.results.flatMap((value) => value.readers))];
  const close = html("button", { type: "button", class: "close", "aria-label": "close" }, "×");
  close.onclick = () => { state.selected = null; showDetails(); };
  panel.replaceChildren(close, html("div", {}, ...describe(op, shot)),
    html("div", {}, ...eventLines(op), html("p", {}, "reads from ", ...makers.map((o) => link(o, side))), html("p", {}, "read by ", ...readers.map((o) => link(o, side)))));
}

const bodyOf = (op) => op.parent || op;

function goTo(op, side) {
  const key = bodyOf(op).block, opened = state.open.has(key);
  state.selected = { id: op.id, side };
  state.open.add(key);
  if (state.view !== "graph") choose(state.graph, state.step, "graph");
  else if (!opened) rowOf(key).replaceWith(blockRow(key));
  showDetails();
  const box = document.querySelector(`.${side} [data-order="${op.order}"]`);
  if (box) box.scrollIntoView({ block: "center", inline: "center" });
}

// ---- search ------------------------------------------------------------------------------------------------------

// "%12": the operations that make or read it; else what has the text in its kind, attributes, types or the names of weights and states.
function isHit(op) {
  const query = state.query;
  if (query.startsWith("%")) return [...op.results, ...op.operands].some((value) => value.name === query);
  const words = [op.kind, op.record.attrs, ...op.results.map((value) => value.type), ...op.operands.map((value) => value.type),
                 ...op.operands.map(origin).filter((value) => value.source).map((value) => `${value.source.name} ${value.name}`)];
  return words.some((word) => word.toLowerCase().includes(query));
}

const opOf = (box) => state[box.closest(".before") ? "before" : "after"].all[Number(box.dataset.order)];

function markHits(root) {
  for (const box of root.querySelectorAll(".op, .life")) box.classList.toggle("hit", state.query !== "" && isHit(opOf(box)));
}

function allHits() {
  return state.query ? sides.flatMap((side) => state[side].all.filter(isHit).map((op) => ({ op, side }))) : [];
}

function search() {
  state.query = byId("search").value.trim().toLowerCase(), state.hit = -1;
  for (const row of document.querySelectorAll("[data-block]")) row.firstChild.replaceWith(blockHead(row.dataset.block));
  markHits(byId("main"));
  showHits();
}

function nextHit() {
  const hits = allHits();
  if (!hits.length) return;
  state.hit = (state.hit + 1) % hits.length;
  goTo(hits[state.hit].op, hits[state.hit].side);
}

function showHits() {
  const hits = allHits(), before = hits.filter((hit) => hit.side === "before").length;
  byId("hits").value = state.query ? `${before} before, ${hits.length - before} after` : "";
}

// ---- all ---------------------------------------------------------------------------------------------------------

function show() {
  showHead();
  showSteps();
  if (state.view === "arena") showArena(); else showGraph();
  markHits(byId("main"));
  showHits();
  showDetails();
}

// By default the first pass that changes something.
const firstStep = (graph) => graph.steps.find((step) => step.before !== step.after) || graph.steps[0];

function start() {
  const [name, pass, view] = decodeURIComponent(location.hash.slice(1)).split("/");
  const graph = data.graphs.find((g) => g.name === name) || data.graphs.find((g) => g.name === "decode") || data.graphs[0];
  if (!graph) { byId("main").replaceChildren(html("p", { class: "note" }, "There are no graphs.")); return; }
  choose(graph, graph.steps.find((step) => step.pass === pass) || firstStep(graph), view === "arena" ? "arena" : "graph");
}

function showTip(event) {
  const box = event.target.closest ? event.target.closest(".op, .life") : null, tip = byId("tip");
  tip.hidden = !box;
  if (!box) return;
  const op = opOf(box), side = box.closest(".before") ? "before" : "after", value = box.dataset.value && state[side].values.get(Number(box.dataset.value));
  const place = value ? [html("p", { class: "value" }, `${value.name}: bytes ${value.offset} to ${value.offset + value.placed - 1} (${bytesText(value.placed)}), launches ${box.dataset.first} to ${box.dataset.last}`)] : [];
  tip.replaceChildren(...place, ...describe(op, state[side]));
  const { clientWidth, clientHeight } = document.documentElement;
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, clientWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(4, event.clientY + 18 + tip.offsetHeight > clientHeight ? event.clientY - tip.offsetHeight - 12 : event.clientY + 18)}px`;
}

function stepBy(by) {
  const steps = state.graph.steps, to = steps[steps.indexOf(state.step) + by];
  if (to) choose(state.graph, to, state.view);
}

function pressKey(event) {
  if (event.target === byId("search")) {
    if (event.key === "Enter") nextHit();
    return;
  }
  const actions = { "/": () => byId("search").focus(), ArrowLeft: () => stepBy(-1), ArrowRight: () => stepBy(1), Escape: () => { state.selected = null; showDetails(); } };
  if (!actions[event.key]) return;
  event.preventDefault();
  actions[event.key]();
}

byId("view-graph").onclick = () => choose(state.graph, state.step, "graph");
byId("view-arena").onclick = () => choose(state.graph, state.step, "arena");
byId("expand").onclick = () => { for (const key of blockKeys()) state.open.add(key); show(); };
byId("collapse").onclick = () => { state.open.clear(); show(); };
byId("search").oninput = search;
byId("next-hit").onclick = nextHit;
byId("main").onmousemove = showTip;
byId("main").onmouseleave = () => { byId("tip").hidden = true; };
byId("main").onclick = (event) => {
  const box = event.target.closest(".op, .life");
  if (!box) return;
  state.selected = { id: Number(box.dataset.op), side: box.closest(".before") ? "before" : "after" };
  showDetails();
};
document.onkeydown = pressKey;
window.onhashchange = start;
start();
