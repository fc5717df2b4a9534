// Builds the report of a fit from its data with `Draw` and `Sheet`.
"use strict";
(() => {
  const { el } = Draw, { data, head, section, table, done } = Sheet;
  head(data.name, data.sentences);
  const unit = Array.from({ length: 21 }, (_, i) => i / 20), grid = () => el("div", { class: "curve-grid" });
  const just = { label: "as stated", colour: "muted", dash: [5, 4] };
  const plus = (values, sds, times) => values.map((v, i) => v + times * sds[i]);

  if (data.curve) {
    const c = data.curve, place = el("div");
    section("The learned curve", el("p", { class: "muted" },
      "The band holds 95 % of values where the model is right. Its inner part is what the model does not know: it grows where there were no rows. The rest is noise."), place);
    Draw.curves(place, { title: `${Draw.plain(c.target)} by ${Draw.plain(c.input)}`, x: c.x, xLabel: Draw.plain(c.input), yLabel: Draw.plain(c.target), height: 380,
      bands: [{ high: plus(c.mean, c.sd, 2), low: plus(c.mean, c.sd, -2), colour: "chart-band2", label: "2 sd" },
        { high: plus(c.mean, c.ignorance_sd, 2), low: plus(c.mean, c.ignorance_sd, -2), colour: "chart-ignorance", label: "model uncertainty" }],
      series: [{ label: "rows learned", values: c.learned, colour: "chart-value", points: true }, { label: "rows to test on", values: c.tested, colour: "alarm", points: true },
        { label: "expected", values: c.mean, colour: "chart-mean" }] });
  }

  if (data.passes.length > 1) {
    const x = data.passes.map(p => p.pass), place = grid(), classes = "accuracy" in data.passes[0].prequential;
    section("Learning", place);
    const both = of => [{ label: "before each row was learned", values: data.passes.map(p => of(p.prequential)), colour: "chart-mean" },
      ...(data.passes.filter(p => p.test).length > 1 ? [{ label: "rows to test on", values: data.passes.map(p => p.test ? of(p.test) : null), colour: "alarm" }] : [])];
    const curve = (title, yLabel, note, of) => Draw.curves(place, { title, x, xLabel: "pass", xWhole: true, yLabel, note, series: both(of) });
    curve("Log predictive density", "nats a row", "Higher is better.", s => classes ? -s.log_loss : s.log_density);
    if (classes) curve("Answers that are right", "share", "Higher is better.", s => s.accuracy);
    else {
      curve("Root mean square error", "unit of the target", "Lower is better.", s => s.rmse);
      curve("Coverage of the 90 % interval", "share", "It should hold nine values in ten.", s => s.coverage90);
    }
  }

  if (data.intervals) {
    const place = grid(), x = data.intervals.map(l => l.nominal);
    section("Calibration", place);
    Draw.curves(place, { title: "Values inside their interval", x, xLabel: "probability of the interval", yLabel: "share of rows to test on", height: 300, yRange: [0, 1], xRange: [0, 1],
      note: "Above the dashed line intervals are too wide, below it too narrow.",
      series: [{ label: "observed", values: data.intervals.map(l => l.observed), colour: "chart-mean" }, { ...just, values: x }] });
    if (data.cloud) {
      const c = data.cloud;
      Draw.curves(place, { title: `Measured by predicted ${Draw.plain(c.target)}`, x: c.predicted, xLabel: "predicted", yLabel: "measured", height: 300,
        note: "On the dashed line a prediction is right.",
        series: [{ label: "rows to test on", values: c.measured, colour: "chart-mean", points: true }, { label: "right", colour: "muted", dash: [5, 4], values: c.predicted }] });
    }
  }

  if (data.reliability) {
    const bins = data.reliability, place = el("div");
    section("Calibration", place);
    const x = [...unit, ...bins.map(b => b.stated)].sort((a, b) => a - b), at = new Map(bins.map(b => [b.stated, b.right]));
    Draw.curves(place, { title: "Reliability diagram", x, xLabel: "probability of the likeliest class", yLabel: "share of right answers", height: 340, yRange: [0, 1], xRange: [0, 1],
      note: "Below the dashed line answers promise too much, above it too little.",
      series: [{ label: "observed", values: x.map(v => at.get(v) ?? null), colour: "chart-mean", line: true, points: true }, { ...just, values: x }] });
    section("Answers by their stated probability", table(["stated", "right", "rows"],
      bins.map(b => [`${(100 * b.stated).toFixed(1)} %`, `${(100 * b.right).toFixed(1)} %`, String(b.rows)])));
  }

  if (data.passes.length) {
    const classes = "accuracy" in data.passes[0].prequential, percent = v => `${(100 * v).toFixed(2)} %`;
    const heads = classes ? ["right", "log loss, nats", "calibration error"] : ["root mean square error", "log density, nats", "90 % interval holds"];
    const cells = s => !s ? ["", "", ""] : classes ? [percent(s.accuracy), Draw.number(s.log_loss), Draw.number(s.ece)] : [Draw.number(s.rmse, 5), Draw.number(s.log_density), percent(s.coverage90)];
    section("Figures of each pass", el("p", { class: "muted" }, "First before each row was learned, then on the rows to test on."),
      table(["pass", ...heads, ...heads.map(h => "test: " + h), "seconds"], data.passes.map(p => [String(p.pass), ...cells(p.prequential), ...cells(p.test), p.seconds.toFixed(2)])));
  }
  done();
})();
