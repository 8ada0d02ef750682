// SPDX-License-Identifier: Apache-2.0
// The arena over one step: from left to right the launches in their order, from top to bottom offsets, one rectangle for each value. A value keeps its place for all
// launches of the stages from the one that makes it to the last that reads it, or to the end where it is a result of the graph: the rule of plan-memory.

const ARENA_LEFT = 70, ARENA_TOP = 26;

function launchOrder(shot) {
  return shot.ops.map((op, i) => [op, i]).sort(([a, i], [b, k]) => (a.record.stage ?? 0) - (b.record.stage ?? 0) || i - k).map(([op]) => op);
}

function arenaLives(shot) {
  const launches = launchOrder(shot), stages = launches.map((op) => op.record.stage ?? 0);
  const kept = new Set(shot.results.map((result) => result.value));
  const lives = [];
  for (const op of launches) {
    for (const value of op.results) {
      if (value.offset === undefined) continue;
      const last = Math.max(op.record.stage, ...value.readers.map((reader) => reader.record.stage + (reader.record.later || 0)));
      lives.push({ value, first: stages.indexOf(op.record.stage), last: kept.has(value) ? launches.length - 1 : stages.findLastIndex((stage) => stage <= last) });
    }
  }
  return { launches, lives };
}

// The most bytes that are in use at once.
function mostAlive(launches, lives) {
  const change = new Array(launches.length + 1).fill(0);
  for (const life of lives) change[life.first] += life.value.placed, change[life.last + 1] -= life.value.placed;
  let alive = 0;
  return Math.max(...change.map((bytes) => alive += bytes));
}

function layerBands(launches, x, width, height) {
  const bands = [];
  launches.forEach((op, i) => {
    const layer = op.record.layer, last = bands[bands.length - 1];
    if (last && last.layer === layer) last.end = i + 1;
    else bands.push({ layer, begin: i, end: i + 1 });
  });
  return bands.filter((band) => band.layer !== undefined).flatMap((band) => {
    const wide = (band.end - band.begin) * width;
    return [svg("rect", { class: `band${band.layer % 2 ? " odd" : ""}`, x: x(band.begin), y: ARENA_TOP, width: wide, height }),
            wide > 16 ? svg("text", { class: "axis", x: x(band.begin) + wide / 2, y: ARENA_TOP - 8, "text-anchor": "middle" }, String(band.layer)) : undefined];
  });
}

// height: of the arena; the width is that of all.
function drawArena(shot, roomWidth, height) {
  const { launches, lives } = arenaLives(shot), bytes = shot.shot.arena;
  const width = (roomWidth - ARENA_LEFT - 24) / launches.length, x = (launch) => ARENA_LEFT + launch * width;
  const y = (offset) => ARENA_TOP + offset / bytes * height;
  const ticks = [0, 0.25, 0.5, 0.75, 1].flatMap((part) => [
    svg("line", { class: "tick", x1: ARENA_LEFT - 4, x2: x(launches.length), y1: y(part * bytes), y2: y(part * bytes) }),
    svg("text", { class: "axis", x: ARENA_LEFT - 8, y: y(part * bytes) + 4, "text-anchor": "end" }, bytesText(part * bytes))]);
  const boxes = lives.map(({ value, first, last }) => {
    const box = svg("rect", { class: "life", x: x(first), y: y(value.offset), width: (last + 1 - first) * width, height: value.placed / bytes * height,
                              "data-value": value.id, "data-op": value.maker.id, "data-order": value.maker.order, "data-first": first, "data-last": last,
                              "data-offset": value.offset, "data-bytes": value.placed });
    box.style.setProperty("--hue", value.maker.record.group ? groupHue(value.maker.record.group) : 0);
    return box;
  });
  const drawn = svg("svg", { id: "arena", width: x(launches.length) + 20, height: ARENA_TOP + height + 34 }, ...layerBands(launches, x, width, height), ...ticks, ...boxes,
                    svg("text", { class: "axis", x: ARENA_LEFT, y: ARENA_TOP + height + 22 }, `launches 0 to ${launches.length - 1}, in their order; above: layers`));
  const alive = mostAlive(launches, lives);
  const note = `${lives.length} values in an arena of ${bytesText(bytes)}; at most ${bytesText(alive)} of them live at once (${(alive / bytes * 100).toFixed(1)} %)`;
  return { drawn, note };
}
