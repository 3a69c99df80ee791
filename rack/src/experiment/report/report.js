
"use strict";
const run = JSON.parse(document.getElementById("data").textContent);
const NS = "http://www.w3.org/2000/svg";
const redraws = [];
const cursors = [];

for (const time of document.querySelectorAll("time")) {
  time.textContent = new Date(Number(time.dataset.ms)).toLocaleString();
}

/// Makes an element of SVG; texts are set as texts, whatever they contain.
function draw(parent, name, attributes, text) {
  const element = document.createElementNS(NS, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

function make(parent, name, className, text) {
  const element = document.createElement(name);
  element.className = className || "";
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

/// Shows a value with its unit, short enough for an axis.
function shown(value, unit) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  if (unit === "s") {
    if (value >= 1) return `${+value.toFixed(2)} s`;
    return value >= 0.001 ? `${+(value * 1e3).toPrecision(3)} ms` : `${Math.round(value * 1e6)} µs`;
  }
  const sizes = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
  for (const [size, letter] of sizes) {
    if (Math.abs(value) >= size) return `${+(value / size).toPrecision(3)} ${letter}`;
  }
  return `${+value.toFixed(value < 10 ? 2 : 1)}`;
}

/// Returns round numbers from 0 to a bit over `max`, about `count` of them.
function ticks(max, count) {
  const rough = (max || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  return Array.from({ length: Math.ceil((max || 1) / step - 1e-9) + 1 }, (_, n) => n * step);
}

/// Draws phases and time, and returns where a second is.
function frame(svg, width, height, box) {
  const x = (second) => box.left + (second / (run.end || 1)) * (width - box.left - box.right);
  for (const second of ticks(run.end, Math.max(3, Math.round(width / 90)))) {
    if (second > run.end) continue;
    draw(svg, "line", { class: "grid", x1: x(second), x2: x(second), y1: box.top, y2: height - box.bottom });
    draw(svg, "text", { x: x(second), y: height - 4, "text-anchor": second ? "middle" : "start" }, `${+second.toFixed(3)} s`);
  }
  for (const phase of run.phases) {
    if (phase.from <= 0) continue;
    draw(svg, "line", { class: "phase", x1: x(phase.from), x2: x(phase.from), y1: box.top, y2: height - box.bottom });
  }
  return x;
}

/// Shades the time of faults; those that are over at once are a line.
function shade(svg, x, top, bottom) {
  for (const mark of run.marks) {
    if (mark.kind !== "fault") continue;
    const wide = x(mark.to) - x(mark.from);
    const shape = wide >= 2
      ? draw(svg, "rect", { class: "band", x: x(mark.from), width: wide, y: top, height: bottom - top })
      : draw(svg, "line", { class: "cut", x1: x(mark.from), x2: x(mark.from), y1: top, y2: bottom });
    draw(shape, "title", {}, `${mark.part}: ${mark.text}`);
  }
}

/// One row per node: what was done to it, and when.
function timeline(parent) {
  const card = make(parent, "div", "card chart wide");
  make(card, "h3", "", "What happened");
  const svg = draw(card, "svg", {});
  const marked = run.parts.filter((part) => run.marks.some((mark) => mark.part === part));
  const rows = marked.length ? marked : run.parts.slice(0, 1);
  redraws.push(() => {
    svg.replaceChildren();
    const width = svg.clientWidth || 600;
    const height = 24 + rows.length * 24 + 22;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = `${height}px`;
    const longest = Math.max(...rows.map((part) => part.length));
    const box = { left: Math.min(150, 14 + longest * 7), right: 8, top: 20, bottom: 20 };
    const x = frame(svg, width, height, box);
    for (const phase of run.phases) {
      const space = x(phase.to) - x(phase.from);
      const fits = phase.name.length * 6.5 < space;
      if (fits) draw(svg, "text", { x: x(phase.from) + 4, y: 13 }, phase.name);
    }
    rows.forEach((part, row) => {
      const y = box.top + row * 24 + 12;
      draw(svg, "text", { x: 0, y: y + 4 }, part.length > 20 ? `${part.slice(0, 19)}…` : part);
      draw(svg, "line", { class: "axis", x1: box.left, x2: width - box.right, y1: y, y2: y });
      for (const mark of run.marks.filter((mark) => mark.part === part)) {
        const wide = x(mark.to) - x(mark.from);
        const shape = wide >= 2
          ? draw(svg, "rect", { class: "bar", x: x(mark.from), width: wide, y: y - 6, height: 12, rx: 4 })
          : draw(svg, "circle", { class: `dot ${mark.kind}`, cx: x(mark.from), cy: y, r: 5 });
        draw(shape, "title", {}, `${mark.from.toFixed(3)} s  ${mark.kind}: ${mark.text}`);
        const word = mark.kind === "fault" ? mark.text.split(" ")[0] : "";
        if (word) draw(svg, "text", { x: Math.max(x(mark.to), x(mark.from)) + 7, y: y + 4 }, word);
      }
    });
  });
}

/// Returns a line's colour: that of its node in every plot, where it is a node's.
function colour(line, index) {
  const part = run.parts.findIndex((part) => line.name === part || line.name.startsWith(`${part} `));
  return `var(--c${(part < 0 ? index : part) % 8})`;
}

function chart(parent, data) {
  const card = make(parent, "div", "card chart");
  const heading = make(card, "h3", "", `${data.title} `);
  if (data.unit && data.unit !== "s") make(heading, "small", "", data.unit);
  const legend = make(card, "div", "legend");
  const values = data.lines.map((line, index) => {
    const item = make(legend, "span");
    make(item, "i").style.setProperty("--c", colour(line, index));
    make(item, "span", "", `${line.name} `);
    return make(item, "b");
  });
  const svg = draw(card, "svg", {});
  let geometry = null;
  redraws.push(() => {
    svg.replaceChildren();
    const width = svg.clientWidth || 400;
    const height = 210;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.style.height = `${height}px`;
    const box = { left: 54, right: 8, top: 8, bottom: 20 };
    const greatest = Math.max(0, ...data.lines.flatMap((line) => line.points.map((point) => point[1] ?? 0)));
    const steps = ticks(greatest, 4);
    const top = steps[steps.length - 1];
    const y = (value) => height - box.bottom - (value / top) * (height - box.top - box.bottom);
    for (const step of steps) {
      draw(svg, "line", { class: step ? "grid" : "axis", x1: box.left, x2: width - box.right, y1: y(step), y2: y(step) });
      draw(svg, "text", { x: box.left - 6, y: y(step) + 4, "text-anchor": "end" }, shown(step, data.unit));
    }
    const x = frame(svg, width, height, box);
    shade(svg, x, box.top, height - box.bottom);
    data.lines.forEach((line, index) => {
      let path = "";
      let last = null;
      for (const [second, value] of line.points) {
        if (value === null || second < 0) {
          last = null;
          continue;
        }
        const point = `${x(second).toFixed(1)} ${y(value).toFixed(1)}`;
        if (last !== null && data.is_step) path += `L${x(second).toFixed(1)} ${y(last).toFixed(1)}`;
        path += (last === null ? "M" : "L") + point;
        // A single point shows, too.
        if (last === null) path += `L${point}`;
        last = value;
      }
      draw(svg, "path", { class: "line", d: path, stroke: colour(line, index), "stroke-linecap": "round" });
    });
    const cursor = draw(svg, "line", { class: "cursor", y1: box.top, y2: height - box.bottom, visibility: "hidden" });
    geometry = { box, width, cursor, x };
  });
  cursors.push((second) => {
    data.lines.forEach((line, index) => {
      const before = second === null ? null : line.points.findLast((point) => point[0] <= second);
      values[index].textContent = before ? shown(before[1], data.unit) : "";
    });
    geometry.cursor.setAttribute("visibility", second === null ? "hidden" : "visible");
    if (second === null) return;
    geometry.cursor.setAttribute("x1", geometry.x(second));
    geometry.cursor.setAttribute("x2", geometry.x(second));
  });
  const point = (event) => {
    const { box, width } = geometry;
    const place = (event.clientX - svg.getBoundingClientRect().left - box.left) / (width - box.left - box.right);
    const second = place < 0 || place > 1 ? null : place * run.end;
    cursors.forEach((move) => move(second));
  };
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", () => cursors.forEach((move) => move(null)));
}

const parent = document.getElementById("charts");
timeline(parent);
run.charts.forEach((data) => chart(parent, data));
const redraw = () => redraws.forEach((draw) => draw());
redraw();
let waiting = 0;
window.addEventListener("resize", () => {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(redraw);
});
