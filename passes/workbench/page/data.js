// SPDX-License-Identifier: Apache-2.0
// The data, and a graph at one moment made of it.
//
// data = { input, target, pipeline, device?: names; kinds: { kind: [role, doc, writes a state?] }, groups: { group: doc }, graphs: [ {
//   name, class, at: [T, S, C, R],       the step that costs are for
//   records: [ record ],                 each operation, or value without one, that was ever in the graph; equal ones once
//   shots: [ shot ],                     the graph at a moment
//   steps: [ { pass, before, after: numbers of shots, names: [before, after],
//            heirs: [ [value, what took its place] ], events: [ [op, rule, what was missing ("": it fired), value in the way] ] } ] } ] }
// record = { value, source: "weight" | "state" | "input", name, type, bytes, text }
//        | { op, kind, in: [value], out: [ [value, type, bytes, offset?, bytes in the arena?] ], attrs, layer?, stage?, read?, written?, flops?,
//            group?, later?, args?: like out, body?: [record], yield?: [value] }
// shot = { items: [record], results: [ [name, value] ], dims: [ [name, sum] ], arena, cost, seconds?: [of each operation] }
// Values and operations have the same number in all shots of a graph. Names are the numbers in them, in the order in which readShot asks for them.

const data = JSON.parse(document.getElementById("data").textContent);

function readShot(graph, number, names) {
  const shot = graph.shots[number], values = new Map(), ops = [], all = [], used = new Set();
  let name = 0;
  const define = (value) => { value.readers = []; values.set(value.id, value); return value; };
  const made = (prefix, more) => ([id, type, bytes, offset, placed]) => define({ id, name: prefix + names[name++], type, bytes, offset, placed, ...more });
  const readOp = (index, parent) => {
    const record = graph.records[index], op = { index, record, id: record.op, kind: record.kind, parent, members: [] };
    used.add(index);
    op.order = all.push(op) - 1;
    op.results = record.out.map(made("%", { maker: op }));
    op.args = (record.args || []).map((arg, at) => made("%a", { group: op, at })(arg));
    op.members = (record.body || []).map((member) => readOp(member, op));
    return op;
  };
  for (const index of shot.items) {
    const record = graph.records[index];
    if (record.source === undefined) { ops.push(readOp(index, null)); continue; }
    used.add(index);
    const prefix = { weight: "%w", state: "%s" }[record.source];
    define({ id: record.value, name: prefix ? prefix + names[name++] : "%" + record.text.split(" ")[1], type: record.type, bytes: record.bytes, source: record });
  }
  for (const op of all) {
    op.operands = op.record.in.map((id) => values.get(id));
    for (const value of op.operands) value.readers.push(op);
  }
  const results = shot.results.map(([text, id]) => ({ name: text, value: values.get(id) }));
  ops.forEach((op, i) => { op.seconds = shot.seconds ? shot.seconds[i] : undefined; });
  for (const op of all) op.yields = (op.record.yield || []).map((id) => values.get(id));
  return { graph, shot, values, ops, all, used, results, ids: new Set(all.map((op) => op.id)) };
}

// What an argument of a group stands for.
function origin(value) {
  return value.group ? origin(value.group.operands[value.at]) : value;
}

// ---- text --------------------------------------------------------------------------------------------------------

function typeList(values) {
  return values.map((v) => v.type + (v.offset === undefined ? "" : ` at ${v.offset}`)).join(", ");
}

// The operation as a .hir has it.
function opText(op, depth = 0) {
  const pad = "  ".repeat(depth), record = op.record, results = op.results.map((v) => v.name).join(", ");
  let text = `${pad}${results}${results ? " = " : ""}${op.kind} ${op.operands.map((v) => v.name).join(", ")}${record.attrs}`;
  if (record.body) {
    const inside = op.yields.map((v) => v.name).join(", ");
    text += ` (${op.args.map((v) => `${v.name}: ${v.type}`).join(", ")}) {\n`;
    text += op.members.map((member) => opText(member, depth + 1) + "\n").join("");
    text += `${pad}  yield${inside ? " " : ""}${inside}\n${pad}}`;
  }
  if (results) text += " : " + typeList(op.results);
  if (record.stage !== undefined) text += ` stage ${record.stage}`;
  if (record.layer !== undefined) text += ` layer ${record.layer}`;
  return text;
}

function scaled(number, units) {
  let i = 0;
  while (i + 1 < units.length && Math.abs(number) >= 1000) number /= 1000, i++;
  return `${Number(number.toPrecision(3))} ${units[i]}`;
}
const bytesText = (bytes) => scaled(bytes, ["B", "KB", "MB", "GB", "TB"]);
const flopsText = (flops) => scaled(flops, ["flop", "Kflop", "Mflop", "Gflop", "Tflop"]);
const timeText = (seconds) => scaled(seconds * 1e6, ["us", "ms", "s"]);

// ---- what an operation takes, and where it belongs ---------------------------------------------------------------

const moved = (op) => (op.record.read || 0) + (op.record.written || 0);
// What bars compare: time where it is known.
const weight = (op) => op.seconds === undefined ? moved(op) : op.seconds;

function costText(op) {
  const parts = [bytesText(moved(op))];
  if (op.seconds !== undefined) parts.push(timeText(op.seconds));
  return parts.join(" · ");
}

// The layers of the trunk, and what is in front of them and behind: { key, title, ops }.
function blocksOf(shot) {
  const blocks = new Map(), layers = shot.ops.map((op) => op.record.layer);
  const first = layers.findIndex((layer) => layer !== undefined), last = layers.findLastIndex((layer) => layer !== undefined);
  let layer = 0;
  shot.ops.forEach((op, i) => {
    if (layers[i] !== undefined) layer = layers[i];
    const key = first < 0 ? "all" : i < first ? "begin" : i > last ? "end" : String(layer);
    if (!blocks.has(key)) blocks.set(key, []);
    blocks.get(key).push(op);
    op.block = key;
  });
  return blocks;
}

const blockTitle = (key) => ({ all: "graph", begin: "begin", end: "end" })[key] || `layer ${key}`;
const blockPlace = (key) => ({ all: 0, begin: -1, end: Infinity })[key] ?? Number(key);

// ---- what a pass did ---------------------------------------------------------------------------------------------

// Marks the operations of both sides: "" where the pass has not touched one; "changed" where it is on the other side too, or one of its kind makes what took the place
// of its value (it was put into a group); else "gone" or "new".
function markChanges(before, after, heirs) {
  const next = new Map(heirs);
  const successor = (value) => {
    let id = value.id;
    while (next.has(id)) id = next.get(id);
    const made = after.values.get(id), group = made && made.maker && made.maker.yields.length ? made.maker : null;
    return group ? group.yields[group.results.indexOf(made)] : made;
  };
  const mark = (side, other, word) => {
    for (const op of side.all) op.change = other.used.has(op.index) ? "" : other.ids.has(op.id) ? "changed" : word;
  };
  mark(before, after, "gone");
  mark(after, before, "new");
  // What has no results is known by the states that it writes.
  const touches = (op) => op.operands.map(origin).filter((value) => value.source).map((value) => value.id).join();
  const candidates = (op) => op.results.length ? op.results.map(successor).map((value) => value && value.maker) : after.all.filter((o) => touches(o) === touches(op));
  for (const op of before.all.filter((o) => o.change === "gone")) {
    const heir = candidates(op).find((o) => o && o.kind === op.kind && o.change === "new");
    if (heir) op.change = heir.change = "changed";
  }
}
