// Builds the report of a recording from its data with `Draw` and `Sheet`.
"use strict";
(() => {
  const { el, plain } = Draw, { data, head, section, table, done } = Sheet;
  head(data.name, data.sentences);

  if (data.money) {
    const priced = data.money.costs.false_alarm + data.money.costs.missed_fault > 0;
    const span = s => s === null ? "–" : Draw.duration(1000 * s);
    const rows = data.money.detectors.map(d => [d.name, String(d.found), String(d.missed), String(d.false_alarms),
      Draw.number(d.false_alarms_per_day, 3), span(d.delay_s), span(d.lead_s), ...(priced ? [Math.round(d.cost_per_month).toLocaleString("en")] : [])]);
    section("What it would have been worth", el("p", null, data.money_words.join(" ")),
      table(["detector", "faults found", "missed", "false alarms", "a day", "found after", "before its end", ...(priced ? ["cost a month"] : [])], rows));
  }

  const cards = el("div", { class: "cards" }, ...data.incidents.map(incident => Draw.incidentCard(incident)));
  section(data.n_incidents === 0 ? "No incidents" : `Incidents, worst first: ${data.incidents.length} of ${data.n_incidents}`, cards);

  const place = el("div");
  section("The recording", el("p", { class: "muted" }, "Value over prediction, with the bands that hold 68 % and 95 % of values. Drag to zoom, double click for all."), place);
  data.history.incidents = data.incidents;
  Draw.stream(place, { height: 150 }).update(data.history);

  if (data.proposals.length) {
    section("Proposals", el("ul", null, ...data.proposals.map(text => el("li", null, plain(text)))),
      data.config ? el("pre", { tabIndex: 0 }, data.config) : null);
  }
  section("Figures for statisticians", table(["figure", "value", "meaning"],
    data.figures.map(f => [f.name, f.value, f.meaning]), 3));
  done();
})();
