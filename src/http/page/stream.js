// The view of one stream: charts of every channel, its incidents, what another bar would give, learning.
"use strict";
const StreamView = (() => {
  const { el, plain, number, share, duration, moment } = Draw;
  /** Points asked for: two a pixel of a wide chart are of no use. */
  const POINTS = 900;
  /** Rows shown at first. */
  const RECENT_ROWS = 360;
  const HOUR = 3600e3;
  const SPANS = [["recent", null], ["1 h", HOUR], ["6 h", 6 * HOUR], ["1 day", 24 * HOUR], ["1 week", 168 * HOUR], ["30 days", 720 * HOUR], ["all", Infinity]];

  /** Adds new rows to a history that is shown; false where it has to be loaded anew. */
  function append(history, rows, windowMs) {
    const same = rows.channels.length === history.channels.length
      && rows.channels.every((channel, i) => channel.name === history.channels[i].name && channel.states.length === history.channels[i].states.length);
    if (!same || rows.v !== history.v) return false;
    for (const key of ["ts_ms", "end_ms", "score", "flagged", "warming_up"]) history[key].push(...rows[key]);
    rows.channels.forEach((from, i) => {
      const to = history.channels[i];
      for (const key of ["value", "mean", "sd", "score"]) to[key].push(...from[key]);
      // Of single rows the extremes are the value itself.
      for (const key of ["low", "high"]) if (to[key]) to[key].push(...from.value);
      if (to.ignorance_sd) to.ignorance_sd.push(...(from.ignorance_sd || from.value.map(() => null)));
      to.fan = from.fan;
    });
    for (const incident of rows.incidents) {
      const at = history.incidents.findIndex(known => known.id === incident.id && known.start_ms === incident.start_ms);
      if (at < 0) history.incidents.push(incident); else history.incidents[at] = incident;
    }
    for (const key of ["rows", "taken", "period_ms", "first_ms", "last_ms"]) history[key] = rows[key];
    if (windowMs !== Infinity) {
      const from = history.end_ms[history.end_ms.length - 1] - windowMs;
      let old = 0;
      while (old < history.end_ms.length && history.end_ms[old] < from) old++;
      if (old > 0) {
        for (const key of ["ts_ms", "end_ms", "score", "flagged", "warming_up"]) history[key].splice(0, old);
        for (const channel of history.channels)
          for (const key of ["value", "mean", "sd", "score", "low", "high", "ignorance_sd"]) if (channel[key] && channel[key].length) channel[key].splice(0, old);
      }
    }
    return history.ts_ms.length <= 2 * POINTS;
  }

  /** What an engineer would say of the learning, in words. */
  function verdict(summary, learning) {
    if (!summary || summary.state === "waiting") return "No row has come yet.";
    if (summary.state === "warming_up") return `Warming up: ${summary.rows} of ${summary.warm_up_rows} rows. Nothing is judged before.`;
    const words = [];
    if (summary.rmse_ratio !== null) {
      const better = Math.round(100 * (1 - summary.rmse_ratio));
      words.push(better >= 1 ? `Prediction is ${better} % better than assuming that nothing changes.`
        : better > -1 ? "Prediction is as good as assuming that nothing changes." : `Prediction is ${-better} % worse than assuming that nothing changes.`);
    }
    if (summary.coverage90 !== null) {
      const held = 100 * summary.coverage90;
      words.push(`Its 90 % interval held ${held.toFixed(1)} % of the recent values${Math.abs(held - 90) <= 3 ? "" : held < 90 ? ": it is too narrow" : ": it is too wide"}.`);
    }
    const n = learning ? learning.log_density.length : 0;
    if (n >= 8) {
      const late = learning.log_density.slice(-Math.ceil(n / 4)), moved = Math.abs(late[late.length - 1] - late[0]);
      words.push(moved < 0.1 ? "Learning has settled." : "Learning still moves.");
    }
    return words.join(" ");
  }

  /** The bar, in parts of the present one, at `rate` false alarms a week. */
  function thresholdAt(table, rate) {
    const x = Math.log(rate);
    for (let i = 1; i < table.length; i++) {
      const [a, b] = [table[i - 1], table[i]], [xa, xb] = [Math.log(a.per_week), Math.log(b.per_week)];
      if (x <= xb || i === table.length - 1) {
        const t = Math.min(Math.max((x - xa) / (xb - xa), 0), 1);
        return a.score + t * (b.score - a.score);
      }
    }
    return 1;
  }

  function open(main, name, params, app) {
    let history = null, learning = null, summary = null, charts = null, curves = [], closed = false, loads = 0, whatIfRate = params.get("per_week") ? Number(params.get("per_week")) : null;
    let range = params.get("from") && params.get("to") ? [Number(params.get("from")), Number(params.get("to"))] : null;
    let span = SPANS.some(s => s[0] === params.get("span")) ? params.get("span") : "recent";
    const heading = el("h2", { id: "stream-name" }, el("bdi", null, plain(name)));
    const state = el("span", { class: "state", role: "status" });
    const verdictText = el("p", { class: "verdict" });
    const figures = el("dl", { class: "figures" });
    const mutedText = el("p", { class: "muted", hidden: true });
    const action = (label, run) => el("button", { type: "button", onclick: event => run(event.currentTarget) }, label);
    const muteButton = action("Mute 1 h", button => app.mute(name, 3600, button)), muteLonger = action("Mute 8 h", button => app.mute(name, 8 * 3600, button));
    const unmute = action("Unmute", button => app.mute(name, 0, button));
    const forget = action("Learn anew", button => {
      if (window.confirm(`Drop everything learned of ${plain(name)}? It warms up anew; its incidents stay listed.`)) app.instruct(name, "forget", { stream: name }, button);
    });
    const adminBar = el("div", { class: "bar", role: "group", "aria-label": "Instructions", hidden: true }, muteButton, muteLonger, unmute, el("span", { class: "spacer" }), forget);
    const incidents = el("div", { class: "cards" }), earlier = el("div", { class: "cards" });
    const earlierSection = el("section", { "aria-labelledby": "earlier-title", hidden: true }, el("div", { class: "heading" }, el("h2", { id: "earlier-title" }, "Earlier incidents in this range")), earlier);
    const area = el("div");
    const spans = SPANS.map(([label]) => el("button", { type: "button", "aria-pressed": "false", onclick: () => { span = label; range = null; charts.setRange(null, false); note(); load(); } }, label));
    const back = el("button", { type: "button", hidden: true, onclick: () => charts.setRange(null) }, "Back to live");
    const csv = el("button", { type: "button", onclick: download }, "Save as CSV");
    const slider = el("input", { type: "range", id: "per-week", min: "-2", max: "2", step: "0.05", value: "0" });
    const answer = el("output", { htmlFor: "per-week" });
    const reset = el("button", { type: "button", hidden: true, onclick: () => { whatIfRate = null; note(); show(); } }, "Show the real incidents");
    slider.addEventListener("input", () => { whatIfRate = 10 ** Number(slider.value); show(); });
    slider.addEventListener("change", note);
    const whatIf = el("section", { class: "panel", "aria-labelledby": "whatif-title", hidden: true },
      el("h3", { id: "whatif-title" }, "How many alarms would I have had?"),
      el("div", { class: "whatif" }, el("label", { htmlFor: "per-week" }, "False alarms a week"), slider, el("span", null, answer, " ", reset)));
    const curveArea = el("div", { class: "curve-grid" });
    const learn = el("details", { class: "panel", open: params.get("learning") === "1", ontoggle: () => { note(); drawLearning(); } }, el("summary", null, "Learning"), curveArea);
    const keys = el("p", { class: "keys", "aria-hidden": "true" }, ...[
      ["chart-value", "measured", ""], ["chart-mean", "expected", ""], ["chart-band1", "1 sd", "area"], ["chart-band2", "2 sd", "area"],
      ["chart-ignorance", "model uncertainty", "area ignorance"], ["chart-flag", "incident", "area"], ["chart-hatch", "warming up", "hatched"],
    ].map(([colour, label, kind]) => {
      const swatch = el("span", { class: "swatch " + kind });
      swatch.style.setProperty("--swatch", `var(--${colour})`);
      return el("span", { class: "key" + (kind.includes("ignorance") ? " of-ignorance" : "") }, swatch, label);
    }));
    main.replaceChildren(
      el("section", { "aria-labelledby": "stream-name" },
        el("p", null, el("a", { href: "#/" }, "All streams")),
        el("div", { class: "heading" }, heading, state), verdictText, figures, mutedText, adminBar),
      el("section", { "aria-label": "Open incidents of this stream" }, incidents),
      el("section", { "aria-label": "Charts" },
        el("div", { class: "bar", role: "group", "aria-label": "Range of time" }, ...spans, back, el("span", { class: "spacer" }), csv), keys, area),
      whatIf, earlierSection, learn);
    charts = Draw.stream(area, { onRange: next => { range = next; note(); load(); }, range });

    const windowMs = () => {
      const ms = SPANS.find(s => s[0] === span)[1];
      return ms === null ? Math.max(RECENT_ROWS * (summary?.period_ms || history?.period_ms || 0), 1000) : ms;
    };

    function note() {
      const query = new URLSearchParams();
      if (span !== "recent") query.set("span", span);
      if (range) { query.set("from", Math.round(range[0])); query.set("to", Math.round(range[1])); }
      if (whatIfRate !== null) query.set("per_week", whatIfRate.toPrecision(3));
      if (learn.open) query.set("learning", "1");
      app.noteQuery(query);
    }

    async function load() {
      const mine = ++loads, query = new URLSearchParams({ points: POINTS });
      if (range) {
        query.set("from_ms", Math.floor(range[0]));
        query.set("to_ms", Math.ceil(range[1]));
      } else if (windowMs() !== Infinity) {
        if (!summary && !history) {
          // The length of the recent window follows from the stream's rhythm.
          const list = await app.json(`/api/v1/streams?limit=50&search=${encodeURIComponent(name)}`);
          summary = list?.streams.find(s => s.stream === name) || summary;
        }
        const last = summary?.last_ms ?? history?.last_ms;
        if (last) query.set("from_ms", Math.floor(last - windowMs()));
      }
      const answer = await app.json(`/api/v1/streams/${encodeURIComponent(name)}/history?${query}`);
      if (closed || mine !== loads) return;
      if (!answer) {
        state.textContent = "no such stream, or nothing of it yet";
        return;
      }
      learning = answer.learning;
      history = answer;
      app.follow(name, history.taken);
      show();
      drawLearning();
    }

    function show() {
      if (closed || !history) return;
      const table = history.alarm_thresholds || [];
      whatIf.hidden = table.length < 2;
      let shaded = null;
      if (whatIfRate !== null && table.length > 1) {
        const threshold = thresholdAt(table, whatIfRate);
        shaded = Draw.alarmsAt(history, threshold);
        const n = shaded.length, length = history.end_ms[history.end_ms.length - 1] - history.ts_ms[0];
        slider.value = String(Math.log10(whatIfRate));
        const rate = whatIfRate >= 1 ? `${number(whatIfRate, 2)} a week` : `one in ${number(1 / whatIfRate, 2)} weeks`;
        slider.setAttribute("aria-valuetext", rate);
        answer.textContent = `At ${rate}: ${n} ${n === 1 ? "alarm" : "alarms"} in the ${duration(length)} shown (a bar ${number(threshold, 3)} times the present one).`;
      } else answer.textContent = "Move the slider: the stretches that would be flagged are shaded instead.";
      reset.hidden = whatIfRate === null;
      charts.update(history, shaded);
      back.hidden = range === null;
      spans.forEach((button, i) => {
        const ms = SPANS[i][1];
        button.setAttribute("aria-pressed", String(SPANS[i][0] === span && !range));
        const kept = history.last_ms - history.first_ms;
        button.hidden = ms !== null && ms !== Infinity && ms > 1.5 * kept && SPANS[i][0] !== span;
      });
      const known = history.channels.some(channel => channel.ignorance_sd && channel.ignorance_sd.length);
      keys.classList.toggle("no-ignorance", !known);
      const cardOptions = { now: history.last_ms, inStream: true }, newest = [...history.incidents].reverse();
      app.cards(incidents, newest.filter(i => i.end_ms === null), cardOptions);
      const over = newest.filter(i => i.end_ms !== null);
      earlierSection.hidden = over.length === 0;
      app.cards(earlier, over.slice(0, 12), cardOptions);
    }

    function drawLearning() {
      curves.forEach(curve => curve.destroy());
      curves = [];
      if (!learn.open || !learning || learning.rows.length < 2) return;
      const x = learning.rows, xLabel = "rows";
      const curve = spec => curves.push(Draw.curves(curveArea, { x, xLabel, height: 170, ...spec }));
      curve({ title: "Log predictive density", yLabel: "nats", note: "Higher is better. The network helps while it is above persistence.", series: [
        { label: "network", values: learning.log_density, colour: "chart-mean" }, { label: "persistence", values: learning.log_density_baseline, colour: "muted", dash: [5, 4] }] });
      curve({ title: "Error over persistence", yLabel: "ratio", note: "Below 1: better than assuming that nothing changes.", series: [
        { label: "root mean square", values: learning.rmse_ratio, colour: "chart-mean" }, { label: "1", values: x.map(() => 1), colour: "muted", dash: [5, 4] }] });
      curve({ title: "Coverage of the 90 % interval", yLabel: "share", yRange: [0.5, 1], note: "It should hold nine values in ten.", series: [
        { label: "coverage", values: learning.coverage90, colour: "chart-mean" }, { label: "0.9", values: x.map(() => 0.9), colour: "muted", dash: [5, 4] }] });
      curve({ title: "Change of the weights", yLabel: "a batch", note: "It falls as learning settles.", series: [{ label: "relative change", values: learning.site_change, colour: "chart-mean" }] });
      curve({ title: "Width of the posterior", yLabel: "of the prior", note: "What the weights have not learned yet: 1 is nothing learned.", series: [{ label: "sd over the prior's", values: learning.weight_sd, colour: "chart-mean" }] });
      curve({ title: "Noise", yLabel: "variance", note: "In units of the usual step, mean over channels.", series: [{ label: "noise variance", values: learning.noise_variance, colour: "chart-mean" }] });
    }

    function download() {
      if (!history) return;
      const blob = new Blob([Draw.csv(history, range)], { type: "text/csv" });
      const link = el("a", { href: URL.createObjectURL(blob), download: name.replace(/[^\w.-]+/g, "_").slice(0, 80) + ".csv" });
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    }

    function showMuted(mine) {
      const whole = mine.muted_until_ms !== null, some = mine.muted_channels;
      adminBar.hidden = !app.admin;
      unmute.hidden = !whole && some.length === 0;
      mutedText.hidden = unmute.hidden;
      const channels = some.map(c => `${plain(c.name)} until ${moment(c.until_ms)}`).join(", ");
      mutedText.textContent = whole ? `Muted until ${moment(mine.muted_until_ms)}: nothing is flagged and nothing is learned.`
        : some.length > 0 ? `Muted: ${channels}. Nothing of it is flagged or learned.` : "";
    }

    function figure(label, value) {
      return el("div", null, el("dt", null, label), el("dd", null, value));
    }

    load();
    return {
      onStreams(list) {
        const mine = list.streams.find(s => s.stream === name);
        if (!mine) return;
        const first = !summary;
        summary = mine;
        if (first && !history) load();
        app.stateWords(state, mine);
        verdictText.textContent = verdict(mine, learning);
        showMuted(mine);
        figures.replaceChildren(
          figure("severity now", mine.severity.toFixed(2)), figure("a row every", mine.period_ms ? duration(mine.period_ms) : "–"), figure("rows", mine.rows.toLocaleString("en")),
          figure("last row", mine.last_ms ? moment(mine.last_ms) : "–"), figure("90 % interval holds", mine.coverage90 === null ? "–" : (100 * mine.coverage90).toFixed(1) + " %"),
          figure("kept", history && history.first_ms ? duration(history.last_ms - history.first_ms) : "–"));
      },
      onRows(rows) {
        if (!history || range) return;
        if (append(history, rows, windowMs())) show(); else load();
      },
      onReload() { load(); },
      onIncidents() {},
      close() { closed = true; curves.forEach(curve => curve.destroy()); charts.destroy(); app.follow(null); },
    };
  }

  return { open, append, thresholdAt, verdict };
})();
