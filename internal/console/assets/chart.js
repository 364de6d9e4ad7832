// Charts: a figure with data-chart has a table; uPlot draws what the table says.
const drawn = new Map();

// Things are counted: an axis has no parts of one.
const whole = Array.from({ length: 13 }, (_, n) => [1, 2, 5].map((m) => m * 10 ** n)).flat();

// Times are as in the tables: 24 hours, days as month and day.
const hours = [
  [86400, "{MM}-{DD}", "\n{YYYY}", null, null, null, null, null, 1],
  [60, "{HH}:{mm}", "\n{MM}-{DD}", null, "\n{MM}-{DD}", null, null, null, 1],
];

// Whoever changes between light and dark gets the colours of it.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const [figure, plot] of [...drawn]) {
    plot.destroy();
    drawn.delete(figure);
    if (figure.isConnected) draw(figure, figure.querySelector(".plot"), read(figure.querySelector("table")));
  }
});

export function charts(root) {
  if (!window.uPlot) return;
  for (const figure of root.querySelectorAll("figure[data-chart]")) {
    const table = figure.querySelector("table");
    const place = figure.querySelector(".plot");
    if (!table || !place || drawn.has(figure)) continue;
    figure.querySelector("details").open = false;
    draw(figure, place, read(table));
  }
}

function read(table) {
  const heads = [...table.querySelectorAll("thead th")].slice(1);
  const rows = [...table.querySelectorAll("tbody tr")];
  const times = rows.map((r) => Date.parse(r.querySelector("time").dateTime) / 1000);
  const series = heads.map((h, i) => ({ name: h.textContent, tone: h.dataset.tone || "accent", values: rows.map((r) => Number(r.cells[i + 1].textContent)) }));
  return { times, series };
}

function draw(figure, place, data) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const kind = figure.dataset.chart;
  const values = data.series.map((s) => s.values);
  if (kind === "stack") for (let i = values.length - 2; i >= 0; i--) values[i] = values[i].map((n, j) => n + values[i + 1][j]);
  const bars = window.uPlot.paths.bars({ size: [0.8, 60] });
  const series = data.series.map((s, i) => ({
    label: s.name, stroke: colour("--chart-" + s.tone), width: kind === "line" ? 2 : 0, points: { show: data.times.length < 3 },
    fill: kind === "line" ? undefined : colour("--chart-" + s.tone), paths: kind === "line" ? undefined : bars,
    value: (_, __, ___, at) => (at == null ? "–" : s.values[at].toLocaleString()),
  }));
  // Bars stand on their time: the first and the last need room beside it.
  const half = kind === "line" || data.times.length < 2 ? 0 : (data.times[1] - data.times[0]) / 2;
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
  const plot = new window.uPlot({
    width: Math.max(place.clientWidth, 240), height: 240, tzDate: (at) => window.uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    cursor: { drag: { x: false, y: false } }, scales: { x: { range: (_, low, high) => (low === high ? [low - 3600, high + 3600] : [low - half, high + half]) }, y: { range: (_, low, high) => [Math.min(0, low), Math.max(1, high * 1.08)] } },
    series: [{ label: "UTC" }, ...series], axes: [{ ...axis, values: hours }, { ...axis, size: 56, incrs: whole, values: (_, at) => at.map((n) => n.toLocaleString()) }],
  }, [data.times, ...values], place);
  drawn.set(figure, plot);
  new ResizeObserver((_, watch) => {
    if (drawn.get(figure) !== plot) return watch.disconnect();
    const width = place.clientWidth;
    if (width && width !== plot.width) plot.setSize({ width, height: 240 });
  }).observe(place);
}
