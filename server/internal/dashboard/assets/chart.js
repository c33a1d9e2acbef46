// Draws the tables of charts. Who does not see the picture, or has no scripts, reads
// the table. Bars are stacked on each other, those that are not "good" hatched, so that
// colour alone says nothing. Beside lines, a number that is "bad" is a hatched band.

const dark = matchMedia("(prefers-color-scheme: dark)");
const height = 200;

for (const figure of document.querySelectorAll("figure.chart")) {
  if (figure.querySelector(".plot")) show(figure);
}

function show(figure) {
  const plot = figure.querySelector(".plot");
  const numbers = read(figure);
  let chart = null;
  const draw = () => {
    chart?.destroy();
    chart = new uPlot(options(figure, plot, numbers), numbers.drawn, plot);
  };
  draw();
  dark.addEventListener("change", draw);
  let width = plot.clientWidth;
  new ResizeObserver(() => {
    if (plot.clientWidth === width || plot.clientWidth === 0) return;
    width = plot.clientWidth;
    chart.setSize({ width, height });
  }).observe(plot);
}

// read takes times (seconds) and columns from the table; an empty cell is null. Stacked
// columns are drawn as sums, the last one first, so that each is seen above the ones
// before it.
function read(figure) {
  const table = figure.querySelector("table.numbers");
  const columns = [...table.tHead.rows[0].cells].slice(1).map((cell) => ({ name: cell.textContent, tone: cell.dataset.tone, values: [] }));
  const times = [];
  for (const row of table.tBodies[0].rows) {
    times.push(Date.parse(row.querySelector("time").dateTime) / 1000);
    columns.forEach((column, i) => {
      const text = row.cells[i + 1].textContent;
      column.values.push(text === "" ? null : Number(text));
    });
  }
  if (figure.dataset.kind !== "bars") {
    const order = columns.filter((column) => column.tone !== "bad");
    return { times, columns, order, drawn: [times, ...order.map((column) => column.values)] };
  }
  const sums = columns.map((_, last) => times.map((_, i) => columns.slice(0, last + 1).reduce((sum, c) => sum + (c.values[i] ?? 0), 0)));
  return { times, columns, order: [...columns].reverse(), drawn: [times, ...sums.reverse()] };
}

function options(figure, plot, numbers) {
  const colours = Object.fromEntries([...figure.querySelectorAll(".key")].map((key, i) => [numbers.columns[i].tone, getComputedStyle(key).color]));
  const style = getComputedStyle(figure.querySelector(".legend"));
  const axis = { stroke: style.color, font: `12px ${style.fontFamily}`, grid: { stroke: style.borderBottomColor, width: 1 }, ticks: { show: false } };
  const bars = figure.dataset.kind === "bars";
  return {
    width: plot.clientWidth,
    height,
    legend: { show: false },
    cursor: { drag: { x: false, y: false }, points: { show: !bars } },
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    scales: {
      x: { range: () => [Number(figure.dataset.since), Number(figure.dataset.until)] },
      y: { range: (_, __, most) => [0, Math.max(4, most * 1.1)] },
    },
    axes: [
      { ...axis, size: 28, space: 56, values: moments },
      { ...axis, size: 46, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6], values: (_, ticks) => ticks.map(short) },
    ],
    series: [{}, ...numbers.order.map((column) => line(column, bars, colours[column.tone]))],
    hooks: {
      setCursor: [(chart) => tell(figure, numbers, chart.cursor.idx)],
      drawClear: bars ? [] : [(chart) => bands(chart, numbers, colours.bad)],
    },
  };
}

function line(column, bars, colour) {
  if (!bars) return { stroke: colour, width: 1.75, points: { size: 5, fill: colour }, fill: column.tone === "good" ? translucent(colour) : undefined };
  return {
    stroke: colour, width: 1, points: { show: false },
    fill: column.tone === "good" ? colour : () => hatch(colour),
    paths: uPlot.paths.bars({ size: [0.86, 48], align: 1 }),
  };
}

// bands marks the steps in which something went wrong.
function bands(chart, numbers, colour) {
  const bad = numbers.columns.find((column) => column.tone === "bad");
  const step = numbers.times[1] - numbers.times[0];
  chart.ctx.save();
  chart.ctx.fillStyle = hatch(colour);
  chart.ctx.globalAlpha = 0.5;
  numbers.times.forEach((from, i) => {
    if (!bad.values[i]) return;
    const left = chart.valToPos(from, "x", true);
    chart.ctx.fillRect(left, chart.bbox.top, chart.valToPos(from + step, "x", true) - left, chart.bbox.height);
  });
  chart.ctx.restore();
}

function translucent(colour) {
  return colour.replace(/^rgb\((.*)\)$/, "rgba($1, 0.14)");
}

function hatch(colour) {
  const tile = document.createElement("canvas");
  const size = Math.round(6 * devicePixelRatio);
  tile.width = tile.height = size;
  const pen = tile.getContext("2d");
  pen.fillStyle = colour;
  pen.globalAlpha = 0.35;
  pen.fillRect(0, 0, size, size);
  pen.globalAlpha = 1;
  pen.strokeStyle = colour;
  pen.lineWidth = size / 3;
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift, size);
    pen.lineTo(shift + size, 0);
  }
  pen.stroke();
  return pen.createPattern(tile, "repeat");
}

// Times on the axis, in UTC as everywhere on the pages: days, or hours with the day at
// midnight.
function moments(_, ticks) {
  const days = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  return ticks.map((seconds) => {
    const at = new Date(seconds * 1000);
    return at.getUTCHours() + at.getUTCMinutes() === 0 ? days.format(at) : at.toISOString().slice(11, 16);
  });
}

function short(n) {
  return n >= 1e6 ? `${n / 1e6}M` : n >= 1e4 ? `${n / 1e3}k` : String(n);
}

// tell writes what is under the pointer.
function tell(figure, numbers, index) {
  const at = index == null ? null : new Date(numbers.times[index] * 1000);
  figure.querySelector(".readout").textContent = at === null ? "" :
    `${at.toISOString().slice(0, 16).replace("T", " ")} UTC: ` +
    numbers.columns.map((c) => `${c.name} ${c.values[index] ?? "–"}`).join(", ");
}
