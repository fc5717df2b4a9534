// Sections and tables of a report, over `Draw`; adds one global, `Sheet`.
"use strict";
const Sheet = (() => {
  const { el } = Draw, root = document.getElementById("report");
  const data = JSON.parse(document.getElementById("data").textContent);

  function head(title, sentences) {
    root.append(el("header", null, el("h1", null, el("bdi", null, Draw.plain(title))), el("p", { class: "lead" }, sentences.join(" "))));
  }

  function section(title, ...content) {
    const made = el("section", null, el("h2", null, title), ...content);
    root.append(made);
    return made;
  }

  /** A table whose columns from `firstNumber` on hold numbers. */
  function table(heads, rows, firstNumber = 1) {
    const kind = i => i >= firstNumber ? "number" : "";
    return el("div", { class: "wide", tabIndex: 0 }, el("table", null,
      el("thead", null, el("tr", null, ...heads.map((text, i) => el("th", { scope: "col", class: kind(i) }, text)))),
      el("tbody", null, ...rows.map(row => el("tr", null, ...row.map((text, i) => el(i ? "td" : "th", { class: kind(i) }, text)))))));
  }

  /** Everything is drawn: the time since the beginning of the page, for tests. */
  function done() {
    document.documentElement.dataset.ready = String(Math.round(performance.now()));
  }

  return { data, head, section, table, done };
})();
