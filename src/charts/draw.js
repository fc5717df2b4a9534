// Draws histories, incidents and curves: the one piece of drawing code, for the live page and for reports.
//
// A classic script, so that it works from a server and from a file alike. It needs uPlot and adds one
// global, `Draw`. `words.js` stands before it.
// The shape of a history is that of GET /api/v1/streams/{stream}/history.
"use strict";
const Draw = (() => {
  const { el, plain, number, measured, compared, share, withUnit, duration, moment, clock, kindWords } = Words;

  // ---------------------------------------------------------------- colours

  /** Colours from the style sheet, so that dark and light need no second list. */
  function colours() {
    const style = getComputedStyle(document.documentElement);
    const get = name => style.getPropertyValue("--" + name).trim();
    return {
      value: get("chart-value"), mean: get("chart-mean"), band1: get("chart-band1"), band2: get("chart-band2"),
      ignorance: get("chart-ignorance"), range: get("chart-range"), alarm: get("alarm"), flag: get("chart-flag"),
      flagWeak: get("chart-flag-weak"), hatch: get("chart-hatch"), grid: get("chart-grid"), text: get("text"),
      muted: get("muted"), surface: get("surface"), states: [1, 2, 3, 4, 5, 6].map(i => get("chart-state" + i)),
      ok: get("ok"),
    };
  }

  // ---------------------------------------------------------------- a history as columns for uPlot

  /** Where a point follows the one before after more than this many usual distances, the line breaks. */
  const GAP_PERIODS = 5;

  /** Indices of a history with -1 where the line breaks, and the moments of both, in seconds. */
  function timeline(history) {
    const n = history.ts_ms.length, index = [], x = [];
    const limit = Math.max(GAP_PERIODS * (history.period_ms || 0), 1);
    for (let i = 0; i < n; i++) {
      if (i > 0) {
        const before = history.end_ms[i - 1], width = history.end_ms[i] - history.ts_ms[i] + before - history.ts_ms[i - 1];
        if (history.ts_ms[i] - before > limit + 2 * width) {
          x.push((before + 1) / 1000);
          index.push(-1);
        }
      }
      // A merged point stands in its middle.
      x.push((history.ts_ms[i] + history.end_ms[i]) / 2000);
      index.push(i);
    }
    return { x, index };
  }

  const NONE = null;
  function column(index, values, otherwise) {
    return index.map(i => i < 0 ? NONE : values.length ? values[i] ?? NONE : otherwise ? otherwise[i] ?? NONE : NONE);
  }

  function band(index, channel, sds, of) {
    const sd = of || channel.sd;
    return index.map(i => i < 0 || channel.mean[i] === null || !(sd[i] >= 0) || sd[i] === null ? NONE
      : channel.mean[i] + sds * sd[i]);
  }

  /** Columns of a channel of numbers: time, value, prediction, and the edges of its bands. */
  function numberData(line, channel) {
    const { x, index } = line;
    const ignorance = channel.ignorance_sd && channel.ignorance_sd.length ? channel.ignorance_sd : null;
    return [
      x,
      band(index, channel, 2), band(index, channel, -2), band(index, channel, 1), band(index, channel, -1),
      ignorance ? band(index, channel, 1, ignorance) : index.map(() => NONE),
      ignorance ? band(index, channel, -1, ignorance) : index.map(() => NONE),
      column(index, channel.high || [], channel.value), column(index, channel.low || [], channel.value),
      column(index, channel.mean), column(index, channel.value),
    ];
  }

  function median(values) {
    const sorted = values.filter(v => v !== null && Number.isFinite(v)).sort((a, b) => a - b);
    return sorted.length ? sorted[sorted.length >> 1] : 0;
  }

  /** The range of a chart: all that was measured, and room for the usual band. */
  function valueRange(u, min, max) {
    const [from, to] = [u.scales.x.min ?? -Infinity, u.scales.x.max ?? Infinity];
    const [x, hi2, lo2, , , , , high, low] = u.data;
    let bottom = Infinity, top = -Infinity;
    const halves = [];
    for (let i = 0; i < x.length; i++) {
      if (x[i] < from || x[i] > to) continue;
      if (low[i] !== null && low[i] < bottom) bottom = low[i];
      if (high[i] !== null && high[i] > top) top = high[i];
      if (hi2[i] !== null && lo2[i] !== null) halves.push((hi2[i] - lo2[i]) / 2);
    }
    if (bottom > top) return min === null ? [0, 1] : [min, max === min ? min + 1 : max];
    let pad = 1.15 * median(halves);
    const size = top - bottom;
    pad = size > 0 ? Math.min(pad, 2 * size) : pad;
    pad = Math.max(pad, 0.06 * size);
    if (!(pad > 0)) pad = Math.abs(top) * 0.01 || 1;
    return [bottom - pad, top + pad];
  }

  // ---------------------------------------------------------------- what lies under and over the lines

  /** Shades from moment to moment, in milliseconds. */
  function shade(u, fromMs, toMs, fill) {
    const { left, top, width, height } = u.bbox;
    const a = Math.max(u.valToPos(fromMs / 1000, "x", true), left);
    const b = Math.min(u.valToPos(toMs / 1000, "x", true), left + width);
    if (!(b > left) || !(a < left + width)) return;
    u.ctx.fillStyle = fill;
    u.ctx.fillRect(a, top, Math.max(b - a, 2 * devicePixelRatio), height);
  }

  /** Hatches from moment to moment. */
  function hatch(u, fromMs, toMs, stroke) {
    const { left, top, width, height } = u.bbox, ctx = u.ctx;
    const a = Math.max(u.valToPos(fromMs / 1000, "x", true), left);
    const b = Math.min(u.valToPos(toMs / 1000, "x", true), left + width);
    if (!(b > a)) return;
    ctx.save();
    ctx.beginPath();
    ctx.rect(a, top, b - a, height);
    ctx.clip();
    ctx.strokeStyle = stroke;
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    const step = 8 * devicePixelRatio;
    for (let x = a - height; x < b; x += step) {
      ctx.moveTo(x, top + height);
      ctx.lineTo(x + height, top);
    }
    ctx.stroke();
    ctx.restore();
  }

  /** Stretches [from, to] in ms in which `wanted(i)` holds; a stretch ends where the next point begins. */
  function stretches(history, wanted) {
    const found = [], n = history.ts_ms.length;
    for (let i = 0; i < n; i++) {
      if (!wanted(i)) continue;
      const from = history.ts_ms[i];
      while (i + 1 < n && wanted(i + 1)) i++;
      found.push([from, i + 1 < n ? Math.min(history.ts_ms[i + 1], history.end_ms[i] + history.period_ms) : history.end_ms[i]]);
    }
    return found;
  }

  /** Alarms that a score of `threshold` for the bar would have given: their stretches, those that part
   *  by less than `mergeRows` usual distances taken for one. */
  function alarmsAt(history, threshold, mergeRows = 10) {
    const raw = stretches(history, i => history.score[i] >= threshold && !history.warming_up[i]);
    const merged = [];
    for (const [from, to] of raw) {
      const last = merged[merged.length - 1];
      if (last && from - last[1] <= mergeRows * (history.period_ms || 0)) last[1] = to;
      else merged.push([from, to]);
    }
    return merged;
  }

  /** A channel carries an incident where its share is at least that of an even split over all channels. */
  const carries = (incident, name, history) => incident.channels.some(s => s.name === name && s.share * history.channels.length >= 1);

  /** Warm-up hatched, incidents shaded: strongly where the channel carries them. */
  function underlay(u, view, channel, c) {
    const { history } = view;
    for (const [from, to] of view.warmUp) hatch(u, from, to, c.hatch);
    if (view.whatIf) {
      for (const [from, to] of view.whatIf) shade(u, from, to, c.flag);
      return;
    }
    const now = history.end_ms[history.end_ms.length - 1];
    for (const incident of history.incidents) {
      shade(u, incident.start_ms, incident.end_ms ?? now, carries(incident, channel.name, history) ? c.flag : c.flagWeak);
    }
  }

  /** The fan of forecasts after the last row. */
  function fan(u, history, channel, c) {
    if (!channel.fan || !channel.fan.length) return;
    const n = history.ts_ms.length - 1;
    let at = n;
    while (at >= 0 && (channel.value[at] === null)) at--;
    if (at < 0) return;
    const points = [{ ts_ms: history.end_ms[at], mean: channel.value[at], sd: 0 }, ...channel.fan.filter(p => p.mean !== null && p.sd !== null)];
    if (points.length < 2) return;
    const ctx = u.ctx, px = p => u.valToPos(p.ts_ms / 1000, "x", true), py = y => u.valToPos(y, "y", true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    for (const [sds, fill] of [[2, c.band2], [1, c.band1]]) {
      ctx.fillStyle = fill;
      ctx.beginPath();
      points.forEach((p, i) => ctx[i ? "lineTo" : "moveTo"](px(p), py(p.mean + sds * p.sd)));
      for (const p of [...points].reverse()) ctx.lineTo(px(p), py(p.mean - sds * p.sd));
      ctx.closePath();
      ctx.fill();
    }
    ctx.strokeStyle = c.mean;
    ctx.lineWidth = 1.25 * devicePixelRatio;
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    points.forEach((p, i) => ctx[i ? "lineTo" : "moveTo"](px(p), py(p.mean)));
    ctx.stroke();
    ctx.restore();
  }

  // ---------------------------------------------------------------- a stream: one chart a channel

  const TIMES = [
    [31536000, "{YYYY}", null, null, null, null, null, null, 1],
    [2419200, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [3600, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
    [60, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
    [1, "{HH}:{mm}:{ss}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
    [0.001, "{HH}:{mm}:{ss}.{fff}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
  ];
  /** Text in charts grows with the page's, which is larger on a large screen. */
  const em = () => parseFloat(getComputedStyle(document.documentElement).fontSize) || 15;
  const fontSize = () => Math.round(0.74 * em());
  const font = () => `${fontSize()}px system-ui, sans-serif`;
  const scaled = pixels => Math.round(pixels * em() / 15);

  function axes(c) {
    const axis = { stroke: () => c().muted, font: font(), grid: { stroke: () => c().grid, width: 1 }, ticks: { show: false } };
    return [
      { ...axis, values: TIMES, size: scaled(34), space: scaled(70), gap: 4 },
      { ...axis, size: (u, labels) => scaled(Math.max(58, 14 + 6.5 * Math.max(0, ...(labels || []).map(l => String(l).length)))), gap: 4, space: scaled(28), values: (u, splits) => ticks(splits) },
    ];
  }

  /** Tick labels with as many decimals as the steps need. */
  function ticks(splits) {
    const step = splits.length > 1 ? Math.abs(splits[1] - splits[0]) : 0;
    let decimals = step > 0 ? Math.min(Math.max(-Math.floor(Math.log10(step) + 1e-9), 0), 8) : 2;
    // Steps of 2.5 and 0.25 need one more.
    const shift = step * 10 ** decimals;
    if (Math.abs(shift - Math.round(shift)) > 0.01 && decimals < 8) decimals++;
    const largest = Math.max(...splits.map(Math.abs)), digits = step > 0 ? Math.ceil(Math.log10(largest / step) + 1e-9) + 1 : 3;
    return splits.map(v => v === null ? "" : largest >= 1e8 || (step > 0 && step < 1e-5) ? v.toExponential(Math.min(Math.max(digits - 1, 1), 12)).replace(/-/g, "−") : v.toFixed(decimals).replace("-", "−"));
  }

  function numberSeries(c) {
    const edge = { stroke: "transparent", width: 0, points: { show: false } };
    return {
      series: [
        {}, edge, edge, edge, edge, edge, edge, edge, edge,
        { stroke: () => c().mean, width: 1, points: { show: false } },
        { stroke: () => c().value, width: 1.5, points: { size: 4 } },
      ],
      bands: [
        { series: [1, 2], fill: () => c().band2 }, { series: [3, 4], fill: () => c().band1 },
        { series: [5, 6], fill: () => c().ignorance }, { series: [7, 8], fill: () => c().range },
      ],
    };
  }

  /** Strips of states, and how likely the state was before it was seen. */
  function strips(u, view, channel, c) {
    const { history } = view, ctx = u.ctx, { top, height } = u.bbox;
    const strip = 0.56 * height, n = history.ts_ms.length;
    const x = ms => u.valToPos(ms / 1000, "x", true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, top, u.bbox.width, height);
    ctx.clip();
    ctx.font = `${fontSize() * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textBaseline = "middle";
    ctx.textAlign = "left";
    for (let i = 0; i < n; i++) {
      const state = channel.value[i];
      if (state === null) continue;
      const from = history.ts_ms[i];
      while (i + 1 < n && channel.value[i + 1] === state && history.ts_ms[i + 1] - history.end_ms[i] <= GAP_PERIODS * history.period_ms) i++;
      const to = i + 1 < n ? Math.min(history.ts_ms[i + 1], history.end_ms[i] + GAP_PERIODS * history.period_ms) : history.end_ms[i];
      const a = x(from), b = Math.max(x(to), a + devicePixelRatio);
      ctx.fillStyle = c.states[state % c.states.length];
      ctx.fillRect(a, top, b - a, strip);
      const name = plain(channel.states[state] ?? state);
      const room = Math.min(b, u.bbox.left + u.bbox.width) - Math.max(a, u.bbox.left);
      if (ctx.measureText(name).width + 8 * devicePixelRatio < room) {
        ctx.fillStyle = "#fff";
        ctx.fillText(name, Math.max(a, u.bbox.left) + 4 * devicePixelRatio, top + strip / 2);
      }
    }
    // The probability that the state seen had before, as bars from below.
    const floor = top + height, tall = 0.36 * height;
    ctx.fillStyle = c.mean;
    for (let i = 0; i < n; i++) {
      const p = channel.sd[i];
      if (p === null || channel.value[i] === null) continue;
      const a = x(history.ts_ms[i]), b = i + 1 < n ? x(history.ts_ms[i + 1]) : x(history.end_ms[i] + history.period_ms);
      ctx.fillRect(a, floor - p * tall, Math.min(Math.max(b - a, devicePixelRatio), x(history.end_ms[i] + 2 * history.period_ms) - a), p * tall);
    }
    ctx.restore();
  }

  /** Charts of one stream, a chart a channel, on one time axis that they share: drag to zoom, double
   *  click for all, arrow keys to move, + and − to zoom. Options: `onRange(range)` is called with
   *  `[from_ms, to_ms]` or null when the viewer changes the range; `height` in px. */
  function stream(container, options = {}) {
    let view = null, charts = [], range = options.range || null, colour = colours();
    const c = () => colour;
    const sync = uPlot.sync("stream-" + Math.random().toString(36).slice(2));
    const observer = new ResizeObserver(() => charts.forEach(fit));
    container.classList.add("charts");

    const fullRange = () => {
      const { history } = view, last = history.end_ms.length - 1;
      const from = history.ts_ms[0] ?? 0, ends = history.channels.flatMap(ch => (ch.fan || []).map(p => p.ts_ms));
      const to = Math.max(history.end_ms[last] ?? 1, ...ends);
      return [from, to > from ? to : from + 1000];
    };
    const shown = () => range || fullRange();

    function setRange(next, tell = true) {
      range = next;
      apply();
      if (tell && options.onRange) options.onRange(range);
    }
    function apply() {
      if (!view) return;
      const [from, to] = shown();
      for (const chart of charts) chart.u.setScale("x", { min: from / 1000, max: to / 1000 });
    }
    function fit(chart) {
      const width = Math.floor(chart.plot.clientWidth);
      if (width > 0 && width !== chart.u.width) chart.u.setSize({ width, height: chart.height });
    }

    function keys(event) {
      const [from, to] = shown(), size = to - from, [first, last] = fullRange();
      const moves = { ArrowLeft: [-0.2, -0.2], ArrowRight: [0.2, 0.2], "+": [0.2, -0.2], "=": [0.2, -0.2], "-": [-0.33, 0.33] };
      if (event.key === "0" || event.key === "Home") setRange(null);
      else if (event.key in moves && !event.ctrlKey && !event.metaKey) {
        const [a, b] = moves[event.key];
        const next = [Math.max(from + a * size, first), Math.min(to + b * size, last)];
        setRange(next[1] - next[0] >= 0.999 * (last - first) ? null : next);
      } else return;
      event.preventDefault();
    }

    function readout(chart, i) {
      const { history } = view, channel = history.channels[chart.channel];
      if (i === null || i === undefined || i < 0) i = history.ts_ms.length - 1;
      const at = channel.value[i] ?? null, mean = channel.mean[i] ?? null, sd = channel.sd[i] ?? null;
      if (channel.states.length) {
        chart.value.textContent = at === null ? "–" : plain(channel.states[at] ?? at);
        chart.expected.textContent = sd === null ? "" : `had probability ${share(sd)}`;
        chart.distance.textContent = "";
        return;
      }
      const said = compared(at, mean, sd);
      chart.value.textContent = withUnit(said.value, channel.unit);
      chart.expected.textContent = mean === null || sd === null ? "nothing expected yet" : `expected ${said.mean}${said.spread}`;
      chart.distance.textContent = said.z === null ? "" : said.distance;
      chart.distance.classList.toggle("far", said.z !== null && Math.abs(said.z) >= 3);
    }

    function make(channel, place) {
      const isStates = channel.states.length > 0;
      const height = scaled(isStates ? 96 : options.height || 150);
      const value = el("output", { class: "now" }), expected = el("span", { class: "expected" }), distance = el("span", { class: "distance" });
      const plot = el("div", { class: "plot" });
      const root = el("section", { class: "chart", tabIndex: 0, role: "group", "aria-label": `Chart of ${plain(channel.name)}. Arrow keys move, plus and minus zoom, zero shows all.`, onkeydown: keys },
        el("h3", null, el("bdi", { class: "name" }, plain(channel.name)), value, distance, expected), plot);
      container.append(root);
      const chart = { channel: place, name: channel.name, isStates, height, root, plot, value, expected, distance };
      const { series, bands } = isStates ? { series: [{}, { stroke: "transparent", points: { show: false } }], bands: [] } : numberSeries(c);
      const own = () => view.history.channels[place];
      chart.u = new uPlot({
        width: Math.max(Math.floor(plot.clientWidth), 200), height, series, bands,
        legend: { show: false },
        padding: [8, 20, 0, 0],
        scales: { x: { time: true }, y: isStates ? { range: [0, 1] } : { range: valueRange } },
        axes: isStates ? [axes(c)[0], { ...axes(c)[1], values: () => [], grid: { show: false } }] : axes(c),
        cursor: { sync: { key: sync.key, setSeries: false }, drag: { x: true, y: false, setScale: false }, points: { show: !isStates }, y: false },
        hooks: {
          drawClear: [u => { if (view) underlay(u, view, own(), c()); }],
          draw: [u => { if (!view) return; if (isStates) strips(u, view, own(), c()); else fan(u, view.history, own(), c()); }],
          setCursor: [u => { if (view) readout(chart, u.cursor.idx === null || u.cursor.left < 0 ? null : view.line.index[u.cursor.idx]); }],
          setSelect: [u => {
            if (u.select.width < 6) return;
            const from = u.posToVal(u.select.left, "x") * 1000, to = u.posToVal(u.select.left + u.select.width, "x") * 1000;
            u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
            setRange([from, to]);
          }],
        },
      }, [[], []], plot);
      plot.addEventListener("dblclick", () => setRange(null));
      observer.observe(plot);
      return chart;
    }

    /** Shows a history; `whatIf` are stretches in ms to shade instead of the incidents. */
    function update(history, whatIf = null) {
      const line = timeline(history);
      view = { history, line, whatIf, warmUp: stretches(history, i => history.warming_up[i] === 1) };
      const same = charts.length === history.channels.length
        && charts.every((chart, i) => chart.name === history.channels[i].name && chart.isStates === history.channels[i].states.length > 0);
      if (!same) {
        clear();
        charts = history.channels.map(make);
      }
      const [from, to] = shown();
      charts.forEach((chart, i) => {
        const channel = history.channels[i];
        const data = chart.isStates ? [line.x, line.x.map(() => 0.5)] : numberData(line, channel);
        chart.u.setData(data, false);
        chart.u.setScale("x", { min: from / 1000, max: to / 1000 });
        const alarmed = history.incidents.some(k => k.end_ms === null && carries(k, channel.name, history));
        chart.root.classList.toggle("alarmed", alarmed);
        const left = chart.u.cursor.left;
        readout(chart, left >= 0 && chart.u.cursor.idx !== null ? line.index[chart.u.cursor.idx] : null);
      });
    }

    function clear() {
      for (const chart of charts) {
        observer.unobserve(chart.plot);
        chart.u.destroy();
        chart.root.remove();
      }
      charts = [];
    }
    const theme = matchMedia("(prefers-color-scheme: dark)");
    const restyle = () => { colour = colours(); charts.forEach(chart => chart.u.redraw(false, true)); };
    theme.addEventListener("change", restyle);
    return {
      update, setRange, restyle, shown, range: () => range,
      destroy() { clear(); observer.disconnect(); theme.removeEventListener("change", restyle); container.classList.remove("charts"); },
    };
  }

  // ---------------------------------------------------------------- small pictures

  /** A sparkline of severities into a canvas; the bar of the alarm is a thin line. */
  function spark(canvas, values, max = 2) {
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth || 120, height = canvas.clientHeight || 28;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const ctx = canvas.getContext("2d"), c = colours();
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.clearRect(0, 0, width, height);
    const top = Math.max(max, ...values), y = v => height - 1 - (height - 2) * Math.min(v, top) / top;
    ctx.strokeStyle = c.grid;
    ctx.beginPath();
    ctx.moveTo(0, Math.round(y(1)) + 0.5);
    ctx.lineTo(width, Math.round(y(1)) + 0.5);
    ctx.stroke();
    const step = width / Math.max(values.length, 1);
    values.forEach((v, i) => {
      ctx.fillStyle = v >= 1 ? c.alarm : c.mean;
      ctx.fillRect(i * step, y(v), Math.max(step - 0.5, 0.5), height - 1 - y(v) + 1);
    });
  }

  /** How bad, in a word. */
  function severityWord(severity) {
    return severity < 1 ? "below the bar" : severity < 1.5 ? "slight" : severity < 3 ? "clear" : severity < 10 ? "severe" : "extreme";
  }

  /** An operator's verdict in words. */
  const VERDICTS = { false: "false alarm", true: "real fault", new_normal: "new normal" };

  /** A card of an incident. Options: `open(incident)` makes the stream's name a link to it, `actions`
   *  is a list of elements to append, `now` the moment for "since". */
  function incidentCard(incident, options = {}) {
    const isOpen = incident.end_ms === null, now = options.now ?? incident.end_ms ?? incident.peak_ms;
    const worst = incident.channels[0];
    const title = el("bdi", { class: "stream" }, plain(incident.stream));
    const rows = incident.channels.filter(s => s.share >= 0.005).slice(0, options.channels || 6).map(s => {
      const said = compared(s.value, s.mean, s.sd);
      const bar = el("span", { class: "share-fill" });
      bar.style.width = 100 * s.share + "%";
      return el("tr", null,
        el("th", { scope: "row" }, el("bdi", null, plain(s.name))),
        el("td", { class: "share" }, el("span", { class: "share-bar" }, bar), el("span", { class: "share-text" }, share(s.share))),
        ...(s.state !== null ? [plain(s.state), plain(s.expected_state ?? "–"), `probability ${share(s.probability)}`] : [
          s.value === null ? "–" : withUnit(said.value, s.unit),
          s.mean === null ? "–" : [said.mean, el("span", { class: "spread" }, said.spread)],
          said.distance,
        ]).map((figure, i) => el("td", { class: i < 2 ? "figure" : "figure sd" }, figure)));
    });
    const head = el("tr", null, ...["channel", "share", "value", "expected", "off by"].map((text, i) => el("th", { scope: "col", class: i > 1 ? "figure" : "" }, text)));
    return el("article", { class: "card incident" + (isOpen ? " open" : ""), "data-stream": incident.stream, "data-incident": incident.id },
      el("header", null,
        el("h3", null, options.open ? el("a", { href: options.open(incident) }, title) : title,
          worst ? el("span", { class: "what" }, el("bdi", null, plain(worst.name)), " ", kindWords(incident.kind)) : kindWords(incident.kind)),
        el("span", { class: "severity", title: "severity at its peak; 1 is the alarm bar" },
          el("span", { class: "label" }, "severity "), el("b", null, incident.severity.toFixed(incident.severity < 10 ? 1 : 0)), " ", severityWord(incident.severity))),
      el("p", { class: "when" },
        isOpen ? el("span", { class: "tag alarm" }, "open") : el("span", { class: "tag" }, incident.accepted ? "new normal" : "over"), " ",
        isOpen ? `since ${moment(incident.start_ms)}, for ${duration(now - incident.start_ms)}` : `${moment(incident.start_ms)}, lasted ${duration(incident.end_ms - incident.start_ms)}`,
        incident.verdict ? ` · the operator says: ${VERDICTS[incident.verdict] ?? incident.verdict}` : ""),
      el("table", null, el("caption", { class: "hidden" }, "Channels of the incident, by their share of the evidence"), el("thead", null, head), el("tbody", null, ...rows)),
      options.actions && options.actions.length ? el("footer", null, ...options.actions) : null);
  }

  // ---------------------------------------------------------------- curves

  /** A chart of curves over any axis. `spec`: { title, x: [..], xLabel, yLabel, height, time,
   *  xWhole, series: [{ label, values, colour, dash, points, line }], bands: [{ low, high, colour, label }], yRange, xRange }. Colours are
   *  names of the style sheet's properties, such as "chart-value". */
  function curves(container, spec) {
    const named = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
    const data = [spec.x], series = [{}], bands = [];
    for (const b of spec.bands || []) {
      bands.push({ series: [data.length, data.length + 1], fill: () => named(b.colour) });
      data.push(b.high, b.low);
      const edge = { stroke: "transparent", points: { show: false } };
      series.push(edge, edge);
    }
    const keys = (spec.bands || []).filter(b => b.label).map(b => {
      const swatch = el("span", { class: "swatch area" });
      swatch.style.setProperty("--swatch", `var(--${b.colour})`);
      return el("span", { class: "key" }, swatch, b.label);
    });
    for (const s of spec.series) {
      data.push(s.values);
      series.push({
        label: s.label, stroke: () => named(s.colour), width: s.points && !s.line ? 0 : 1.75, dash: s.dash,
        paths: s.points && !s.line ? () => null : undefined, points: { show: !!s.points, size: 5, fill: () => named(s.colour) }, spanGaps: true,
      });
      const swatch = el("span", { class: "swatch" + (s.dash ? " dashed" : "") });
      swatch.style.setProperty("--swatch", `var(--${s.colour})`);
      keys.push(el("span", { class: "key" }, swatch, s.label));
    }
    const plot = el("div", { class: "plot" }), height = scaled(spec.height || 200);
    const root = el("figure", { class: "chart curves" }, el("figcaption", null, el("b", null, spec.title), ...keys), plot,
      spec.note ? el("p", { class: "note" }, spec.note) : null);
    container.append(root);
    const axis = { stroke: () => named("muted"), font: font(), labelFont: font(), grid: { stroke: () => named("chart-grid"), width: 1 }, ticks: { show: false } };
    const u = new uPlot({
      width: Math.max(Math.floor(plot.clientWidth), 200), height, series, bands, legend: { show: false }, padding: [8, 16, 0, 0],
      scales: { x: { time: !!spec.time, range: spec.xRange }, y: { range: spec.yRange } },
      axes: [{ ...axis, incrs: spec.xWhole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] : undefined, label: spec.xLabel, labelSize: scaled(18), size: scaled(34), values: spec.time ? TIMES : (u, s) => ticks(s) },
        { ...axis, label: spec.yLabel, labelSize: scaled(18), size: scaled(56), values: (u, s) => ticks(s) }],
      cursor: { drag: { x: false, y: false } },
    }, data, plot);
    const observer = new ResizeObserver(() => {
      const width = Math.floor(plot.clientWidth);
      if (width > 0 && width !== u.width) u.setSize({ width, height });
    });
    observer.observe(plot);
    const theme = matchMedia("(prefers-color-scheme: dark)"), restyle = () => u.redraw(false, true);
    theme.addEventListener("change", restyle);
    return { root, destroy() { observer.disconnect(); theme.removeEventListener("change", restyle); u.destroy(); root.remove(); } };
  }

  // ---------------------------------------------------------------- the view as a table

  /** What is shown as comma-separated values, RFC 4180; a text that a spreadsheet would take for a
   *  formula gets an apostrophe before it. */
  function csv(history, range) {
    const quote = text => {
      const safe = /^[=+\-@\t\r]/.test(text) ? "'" + text : text;
      return /[",\n\r]/.test(safe) ? '"' + safe.replace(/"/g, '""') + '"' : safe;
    };
    const head = ["time", "score", "flagged"];
    for (const channel of history.channels) head.push(...["value", "mean", "sd"].map(what => `${channel.name}.${what}`));
    const lines = [head.map(quote).join(",")];
    for (let i = 0; i < history.ts_ms.length; i++) {
      if (range && (history.end_ms[i] < range[0] || history.ts_ms[i] > range[1])) continue;
      const cells = [new Date(history.ts_ms[i]).toISOString(), history.score[i], history.flagged[i]];
      for (const channel of history.channels) {
        const states = channel.states.length > 0, name = v => v === null ? "" : quote(String(channel.states[v] ?? v));
        cells.push(states ? name(channel.value[i]) : channel.value[i] ?? "", states ? name(channel.mean[i]) : channel.mean[i] ?? "", channel.sd[i] ?? "");
      }
      lines.push(cells.join(","));
    }
    return lines.join("\r\n") + "\r\n";
  }

  return { el, plain, number, measured, share, withUnit, duration, moment, clock, kindWords, severityWord, colours, stretches, alarmsAt, stream, spark, incidentCard, curves, csv };
})();
