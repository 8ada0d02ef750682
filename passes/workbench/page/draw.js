// SPDX-License-Identifier: Apache-2.0
// Operations as boxes, and the operations of a block or a group as a picture. All text goes into text nodes: none of it is markup.

const CHAR = 6.1, LINE = 13, PAD = 7, MOST_CHARS = 44;

function make(document_, tag, attributes, children) {
  const element = document_(tag);
  for (const [name, value] of Object.entries(attributes || {})) if (value !== undefined && value !== false) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}
const html = (tag, attributes, ...children) => make((t) => document.createElement(t), tag, attributes, children);
const svg = (tag, attributes, ...children) => make((t) => document.createElementNS("http://www.w3.org/2000/svg", t), tag, attributes, children);

const cut = (text) => text.length > MOST_CHARS ? text.slice(0, MOST_CHARS - 1) + "…" : text;
const className = (word) => word.replace(/[^a-z]/g, "-");

// ---- what a box says ---------------------------------------------------------------------------------------------

function sourceLabel(value) {
  const source = value.source, name = source.name.replace(/^blk\.\d+\./, "").replace(/\.weight$/, "");
  return source.source === "input" ? value.name : `${name}: ${source.type}`;
}

function boxLines(op) {
  const lines = [{ text: op.kind, style: "kind", right: op.results.map((v) => v.name).join(" ") }];
  for (const value of op.operands.map(origin)) if (value.source) lines.push({ text: sourceLabel(value), style: value.source.source });
  if (op.results.length) lines.push({ text: op.results[0].type + (op.results.length > 1 ? ` and ${op.results.length - 1} more` : ""), style: "type" });
  if (!op.parent && moved(op) > 0) lines.push({ text: costText(op), style: "cost" });
  return lines.map((line) => ({ ...line, text: cut(line.text) }));
}

const linesWidth = (lines) => Math.max(...lines.map((line) => line.text.length + (line.right ? line.right.length + 2 : 0))) * CHAR + 2 * PAD;

function groupLines(op) {
  return [{ text: `${op.record.group || op.kind} · ${costText(op)}`, style: "kind", right: op.results.map((v) => v.name).join(" ") }];
}

// ---- what flows where --------------------------------------------------------------------------------------------

const stateIds = (op) => [op, ...op.members].flatMap((o) => o.operands.map(origin).filter((v) => v.source && v.source.source === "state").map((v) => v.id));
const writesState = (op) => [op, ...op.members].some((o) => data.kinds[o.kind][2]);

// Edges between operations of one list, by index: values, and states that one writes and a later one uses.
function edgesOf(ops) {
  const place = new Map(ops.map((op, i) => [op, i])), edges = new Map(), writers = new Map();
  ops.forEach((op, to) => {
    for (const value of op.operands) if (place.has(value.maker)) edges.set(`${place.get(value.maker)} ${to}`, { from: place.get(value.maker), to });
    for (const id of stateIds(op)) {
      const from = writers.get(id);
      if (from !== undefined && !edges.has(`${from} ${to}`)) edges.set(`${from} ${to}`, { from, to, state: true });
      if (writesState(op)) writers.set(id, to);
    }
  });
  return [...edges.values()];
}

const blocksText = (keys) => [...keys].map(blockTitle).join(", ").replaceAll(", layer ", ", ");

// What a block takes from others and gives to others, as small boxes.
function portsOf(ops, shot) {
  const inside = new Set(ops), into = new Map(), out = new Map();
  ops.forEach((op, at) => {
    for (const value of op.operands) if (value.maker && !inside.has(value.maker)) (into.get(value) || into.set(value, []).get(value)).push(at);
    for (const value of op.results) {
      const readers = new Set(value.readers.filter((reader) => !inside.has(reader)).map((reader) => reader.block));
      const names = shot.results.filter((result) => result.value === value).map((result) => result.name);
      const parts = [readers.size > 3 ? `${readers.size} blocks` : readers.size ? `→ ${blocksText(readers)}` : "", ...names.map((name) => `return ${name}`)];
      if (readers.size || names.length) out.set(value, { at, text: parts.filter(Boolean).join(", ") });
    }
  });
  const port = (value, text) => ({ port: value, lines: [{ text: cut(`${value.name} ${text}`), style: "port" }] });
  return {
    into: [...into].map(([value, readers]) => ({ node: port(value, `from ${blockTitle(value.maker.block)}`), readers })),
    out: [...out].map(([value, { at, text }]) => ({ node: port(value, text), at })),
  };
}

// ---- boxes -------------------------------------------------------------------------------------------------------

function sizeBox(node) {
  node.w = linesWidth(node.lines), node.h = node.lines.length * LINE + PAD;
  return node;
}

function opBox(op) {
  if (!op.members.length) return sizeBox({ op, lines: boxLines(op) });
  const nodes = op.members.map(opBox), edges = edgesOf(op.members), size = layout(nodes, edges);
  const head = sizeBox({ op, lines: groupLines(op), nodes, edges });
  head.inner = (Math.max(head.w, size.width + 2 * PAD) - size.width) / 2;
  head.w = Math.max(head.w, size.width + 2 * PAD), head.h = LINE + size.height + 3 * PAD;
  return head;
}

function drawLines(node) {
  return node.lines.flatMap((line, i) => {
    const y = (i + 1) * LINE - 1;
    const left = svg("text", { x: PAD, y, class: line.style }, line.text);
    return line.right ? [left, svg("text", { x: node.w - PAD, y, class: "name", "text-anchor": "end" }, line.right)] : [left];
  });
}

function drawEdge(edge) {
  const [first, ...rest] = edge.points;
  let path = `M${first[0]},${first[1]}`, at = first;
  for (const to of rest) {
    const middle = (at[1] + to[1]) / 2;
    path += at[0] === to[0] ? `L${to[0]},${to[1]}` : `C${at[0]},${middle} ${to[0]},${middle} ${to[0]},${to[1]}`;
    at = to;
  }
  return svg("path", { class: edge.state ? "edge state" : "edge", d: path, "marker-end": "url(#arrow)" });
}

function drawBox(node) {
  const place = `translate(${node.x},${node.y})`;
  if (node.port) return svg("g", { class: "port", transform: place }, svg("rect", { width: node.w, height: node.h, rx: 9 }), ...drawLines(node));
  const op = node.op, group = op.record.group, role = data.kinds[op.kind][0];
  const classes = ["op", op.members.length ? "group" : `role-${className(role || "none")}`, op.change];
  const box = svg("g", { class: classes.filter(Boolean).join(" "), transform: place, "data-op": op.id, "data-order": op.order },
                  svg("rect", { width: node.w, height: node.h, rx: op.members.length ? 7 : 3, class: "box" }), ...drawLines(node));
  if (group) box.style.setProperty("--hue", groupHue(group));
  if (node.nodes) box.append(svg("g", { transform: `translate(${node.inner},${LINE + 2 * PAD})` }, ...node.edges.map(drawEdge), ...node.nodes.map(drawBox)));
  return box;
}

// Hues far from one another for groups that are neighbours in the table.
const groupHue = (group) => (Object.keys(data.groups).indexOf(group) * 137.5 + 30) % 360;

// The picture of a block's operations.
function drawBlock(ops, shot, roomWidth) {
  const ports = portsOf(ops, shot), first = ports.into.length;
  const nodes = [...ports.into.map((p) => sizeBox(p.node)), ...ops.map(opBox), ...ports.out.map((p) => sizeBox(p.node))];
  const edges = edgesOf(ops).map((edge) => ({ ...edge, from: edge.from + first, to: edge.to + first }));
  ports.into.forEach((p, i) => { for (const at of new Set(p.readers)) edges.push({ from: i, to: first + at }); });
  ports.out.forEach((p, i) => edges.push({ from: first + p.at, to: first + ops.length + i }));
  const size = layout(nodes, edges, roomWidth / 0.8), width = size.width + 8, height = size.height + 8, scale = Math.min(1, Math.max(0.62, roomWidth / width));
  return svg("svg", { width: Math.ceil(width * scale), height: Math.ceil(height * scale), viewBox: `-4 -4 ${width} ${height}` },
             ...edges.map(drawEdge), ...nodes.map(drawBox));
}
