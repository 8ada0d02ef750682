// SPDX-License-Identifier: Apache-2.0
// A layered drawing of a graph without cycles (Sugiyama): ranks by longest path, order within a rank by barycentres, places by least squares.
//
// nodes: [{ w, h }] in an order in which edges go forward; edges: [{ from, to }] by index. Sets x, y (left, top) of each node and points of each edge; returns the size.

const GAP_X = 14, GAP_Y = 26;

function rankNodes(nodes, edges) {
  for (const node of nodes) node.rank = 0;
  const out = nodes.map(() => []), into = nodes.map(() => []);
  for (const edge of edges) out[edge.from].push(edge.to), into[edge.to].push(edge.from);
  nodes.forEach((node, i) => { for (const to of out[i]) nodes[to].rank = Math.max(nodes[to].rank, node.rank + 1); });
  for (let i = nodes.length - 1; i >= 0; i--)     // what nothing flows into stands near to its readers
    if (!into[i].length && out[i].length) nodes[i].rank = Math.min(...out[i].map((to) => nodes[to].rank)) - 1;
}

// An edge over several ranks gets a narrow node in each of those between.
function splitEdges(nodes, edges) {
  const cells = nodes.map((node) => ({ node, w: node.w, rank: node.rank, up: [], down: [] }));
  const link = (a, b) => { a.down.push(b); b.up.push(a); };
  for (const edge of edges) {
    edge.path = [cells[edge.from]];
    for (let rank = nodes[edge.from].rank + 1; rank < nodes[edge.to].rank; rank++) edge.path.push({ w: 4, rank, up: [], down: [] });
    edge.path.push(cells[edge.to]);
    for (let i = 1; i < edge.path.length; i++) link(edge.path[i - 1], edge.path[i]);
  }
  const ranks = [];
  for (const cell of new Set([...cells, ...edges.flatMap((edge) => edge.path)])) (ranks[cell.rank] ||= []).push(cell);
  return Array.from(ranks, (rank) => rank || []);
}

const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;

function orderRanks(ranks) {
  const number = (rank) => rank.forEach((cell, i) => { cell.place = i; });
  ranks.forEach(number);
  for (let sweep = 0; sweep < 8; sweep++) {
    const side = sweep % 2 ? "down" : "up";
    for (const rank of sweep % 2 ? [...ranks].reverse() : ranks) {
      for (const cell of rank) cell.key = cell[side].length ? mean(cell[side].map((other) => other.place)) : cell.place;
      rank.sort((a, b) => a.key - b.key);
      number(rank);
    }
  }
}

// Centres as near as can be to where cells want to be, none nearer to the one before it than both widths ask for: neighbours that would overlap become one body, which
// stands at the mean of what its parts want.
function placeRank(rank, wanted) {
  const bodies = [];
  let at = 0;
  rank.forEach((cell, i) => {
    if (i) at += (rank[i - 1].w + cell.w) / 2 + GAP_X;
    cell.shift = at;
    bodies.push({ sum: wanted(cell) - at, count: 1, cells: [cell] });
    while (bodies.length > 1) {
      const last = bodies[bodies.length - 1], before = bodies[bodies.length - 2];
      if (before.sum / before.count <= last.sum / last.count) break;
      bodies.pop();
      before.sum += last.sum, before.count += last.count, before.cells.push(...last.cells);
    }
  });
  for (const body of bodies) for (const cell of body.cells) cell.x = body.sum / body.count + cell.shift;
}

function layoutPart(nodes, edges) {
  rankNodes(nodes, edges);
  const low = Math.min(...nodes.map((node) => node.rank));
  for (const node of nodes) node.rank -= low;
  const ranks = splitEdges(nodes, edges);
  orderRanks(ranks);
  for (const rank of ranks) placeRank(rank, () => 0);
  for (let sweep = 0; sweep < 6; sweep++) {
    const side = sweep % 2 ? "down" : "up";
    for (const rank of sweep % 2 ? [...ranks].reverse() : ranks)
      placeRank(rank, (cell) => cell[side].length ? mean(cell[side].map((other) => other.x)) : cell.x);
  }
  return finish(nodes, edges, ranks);
}

function finish(nodes, edges, ranks) {
  let left = Infinity, right = -Infinity, y = 0;
  for (const rank of ranks) {
    const height = Math.max(0, ...rank.map((cell) => cell.node ? cell.node.h : 0));
    for (const cell of rank) {
      left = Math.min(left, cell.x - cell.w / 2), right = Math.max(right, cell.x + cell.w / 2);
      cell.top = y, cell.bottom = y + height;
    }
    y += height + GAP_Y;
  }
  for (const rank of ranks) for (const cell of rank) cell.x -= left;
  ranks.flat().forEach((cell) => {
    if (cell.node) cell.node.x = cell.x - cell.w / 2, cell.node.y = cell.top;
  });
  for (const edge of edges) {
    const inner = edge.path.slice(1, -1).flatMap((cell) => [[cell.x, cell.top], [cell.x, cell.bottom]]);
    const from = nodes[edge.from], to = edge.path[edge.path.length - 1];
    edge.points = [[from.x + from.w / 2, from.y + from.h], ...inner, [to.x, to.top]];
  }
  return { width: right - left, height: y - GAP_Y };
}

// The parts that no edge joins: lists of nodes.
function partsOf(nodes, edges) {
  const part = nodes.map((_, i) => i), find = (i) => { while (part[i] !== i) i = part[i] = part[part[i]]; return i; };
  for (const edge of edges) part[Math.max(find(edge.from), find(edge.to))] = Math.min(find(edge.from), find(edge.to));
  return [...new Set(nodes.map((_, i) => find(i)))].map((first) => nodes.map((_, i) => i).filter((i) => find(i) === first));
}

// Parts stand side by side, in rows that are not wider than `most` where they can be.
function layout(nodes, edges, most = Infinity) {
  let x = 0, y = 0, height = 0, width = 0;
  for (const part of partsOf(nodes, edges)) {
    const place = new Map(part.map((i, at) => [i, at])), own = edges.filter((edge) => place.has(edge.from));
    const local = own.map((edge) => ({ from: place.get(edge.from), to: place.get(edge.to) })), size = layoutPart(part.map((i) => nodes[i]), local);
    if (x && x + size.width > most) x = 0, y += height + GAP_Y, height = 0;
    for (const i of part) nodes[i].x += x, nodes[i].y += y;
    own.forEach((edge, i) => { edge.points = local[i].points.map((point) => [point[0] + x, point[1] + y]); });
    width = Math.max(width, x + size.width), height = Math.max(height, size.height);
    x += size.width + GAP_X;
  }
  return { width, height: y + height };
}
