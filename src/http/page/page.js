// The live page: routes, the connection to the daemon, the overview, what comes in, the daemon.
"use strict";
(() => {
  const { el, plain, number, duration, moment } = Draw;
  const main = document.getElementById("main"), health = document.getElementById("health"), lost = document.getElementById("lost");
  /** Without an event for so long the connection counts as lost: one comes every second. */
  const SILENCE_MS = 4000;
  let view = null, source = null, heard = 0, retry = null, daemon = null, latest = null, followed = null, search = "";

  // ---------------------------------------------------------------- the daemon

  async function json(url, options) {
    try {
      const response = await fetch(url, options);
      return response.ok ? await response.json() : null;
    } catch {
      return null;
    }
  }

  function connect() {
    clearTimeout(retry);
    if (source) source.close();
    const query = new URLSearchParams();
    if (followed) {
      query.set("stream", followed.name);
      query.set("taken", followed.taken);
    }
    if (search) query.set("search", search);
    const mine = source = new EventSource(`/api/v1/events?${query}`);
    heard = Date.now();
    const on = (name, handle) => mine.addEventListener(name, event => {
      if (mine !== source) return;
      heard = Date.now();
      setLost(null);
      handle(JSON.parse(event.data));
    });
    on("streams", list => { latest = list; setHealth(list.daemon); view?.onStreams?.(list); });
    on("incidents", list => view?.onIncidents?.(list));
    on("rows", rows => { if (followed && rows.stream === followed.name) { followed.taken = rows.taken; view?.onRows?.(rows); } });
    on("reload", () => view?.onReload?.());
    mine.onerror = () => {
      if (mine !== source) return;
      setLost("The connection to the daemon is lost. Trying again; figures below are the last known.");
      mine.close();
      retry = setTimeout(connect, 1000);
    };
  }

  function setLost(text) {
    if (lost.hidden === !text && lost.textContent === (text || "")) return;
    lost.hidden = !text;
    lost.textContent = text || "";
    health.classList.toggle("bad", !!text || (daemon && !daemon.ready));
  }

  function setHealth(now) {
    const before = daemon;
    daemon = now;
    daemon.at = Date.now();
    daemon.rate = before && now.at > before.at && now.rows >= before.rows ? (now.rows - before.rows) / ((now.at - before.at) / 1000) : before ? before.rate : null;
    const words = now.ready ? "ready" : now.reasons.join(", ");
    health.classList.toggle("bad", !now.ready);
    health.replaceChildren(el("span", { class: "dot" }), `${words} · ${daemon.rate === null ? "" : Math.round(daemon.rate) + " rows/s · "}up ${duration(now.uptime_s * 1000)}`);
  }

  setInterval(() => {
    if (source && Date.now() - heard > SILENCE_MS && lost.hidden) {
      setLost("Nothing has been heard of the daemon for some seconds. Trying again; figures below are the last known.");
      connect();
      heard = 0;
    } else if (source && heard === 0 && !retry) connect();
  }, 1000);

  // ---------------------------------------------------------------- shared by the views

  function stateWords(target, summary) {
    const words = {
      incident: () => `incident: ${Draw.kindWords(summary.kind)}`,
      warming_up: () => `warming up, ${summary.rows} of ${summary.warm_up_rows} rows`,
      muted: () => `muted until ${moment(summary.muted_until_ms)}`,
      silent: () => `silent for ${duration(1000 * summary.last_reading_age_s)}`,
      waiting: () => "no row yet", normal: () => "normal",
    };
    target.className = "state " + summary.state;
    target.replaceChildren((words[summary.state] || (() => summary.state.replace(/_/g, " ")))());
    if (summary.state === "warming_up") {
      const fill = el("i"), meter = el("span", { class: "meter", "aria-hidden": "true" }, fill);
      fill.style.width = Math.min(100 * summary.rows / summary.warm_up_rows, 100) + "%";
      target.append(meter);
    }
  }

  const link = stream => `#/stream/${encodeURIComponent(stream)}`;

  /** The charts of a stream around an incident that is over; those of now for one that is open. */
  function linkTo(incident) {
    if (incident.end_ms === null) return link(incident.stream);
    const period = latest?.streams.find(s => s.stream === incident.stream)?.period_ms || 0;
    const margin = Math.max(incident.end_ms - incident.start_ms, MARGIN_ROWS * period);
    return `${link(incident.stream)}?from=${Math.round(incident.start_ms - margin)}&to=${Math.round(incident.end_ms + margin)}`;
  }
  /** Rows that are shown before and after an incident, at least. */
  const MARGIN_ROWS = 30;

  /** Cards into `target`, those that did not change left as they are. */
  function cards(target, incidents, options = {}) {
    const known = new Map([...target.children].map(card => [card.dataset.key, card]));
    const wanted = incidents.map(incident => {
      const key = JSON.stringify([incident.stream, incident.id, incident.start_ms]);
      const now = options.now ?? latest?.streams.find(s => s.stream === incident.stream)?.last_ms;
      const text = JSON.stringify(incident) + (incident.end_ms === null ? now : "");
      const card = known.get(key);
      if (card && (card.dataset.text === text || card.contains(document.activeElement))) return card;
      const fresh = Draw.incidentCard(incident, { open: linkTo, now, actions: actions(incident) });
      fresh.dataset.key = key;
      fresh.dataset.text = text;
      return fresh;
    });
    if (wanted.length !== target.children.length || wanted.some((card, i) => target.children[i] !== card)) target.replaceChildren(...wanted);
  }

  function actions(incident) {
    if (!daemon?.admin) return [];
    const button = (verdict, label) => el("button", {
      type: "button", "aria-pressed": String(incident.verdict === verdict),
      onclick: event => rule(incident, verdict, event.currentTarget),
    }, label);
    const verdicts = [button("false", "False alarm"), button("true", "Real fault"), button("new_normal", "New normal")];
    if (incident.end_ms !== null) return verdicts;
    return [...verdicts, el("button", { type: "button", onclick: event => mute(incident.stream, MUTE_S, event.currentTarget) }, "Mute 1 h")];
  }

  /** Posts an instruction with the token; true where it was published. The button says where not. */
  async function instruct(stream, what, body, button) {
    const token = sessionStorage.getItem("token") || await askToken();
    if (!token) return false;
    button.disabled = true;
    const url = `/api/v1/streams/${encodeURIComponent(stream)}/${what}`;
    let response = null;
    try {
      response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json", "X-Admin-Token": token }, body: JSON.stringify(body) });
    } catch { /* said below */ }
    button.disabled = false;
    if (response?.ok) sessionStorage.setItem("token", token);
    else {
      sessionStorage.removeItem("token");
      const before = button.textContent;
      button.textContent = response?.status === 401 ? "Wrong token" : "Not taken";
      setTimeout(() => { button.textContent = before; }, 4000);
    }
    button.blur();
    return !!response?.ok;
  }

  async function rule(incident, verdict, button) {
    const taken = await instruct(incident.stream, `incidents/${incident.id}/verdict`, { verdict }, button);
    button.setAttribute("aria-pressed", String(taken));
  }

  /** Seconds that the button of cards mutes for. */
  const MUTE_S = 3600;
  const mute = (stream, for_s, button) => instruct(stream, "mute", { for_s }, button);

  function askToken() {
    return new Promise(resolve => {
      const input = el("input", { type: "password", autocomplete: "off", "aria-label": "Token" });
      const dialog = el("dialog", { "aria-label": "Token" }, el("form", { method: "dialog" },
        el("p", null, "The token of [http] admin_token_file; it is kept until this tab closes."), input,
        el("button", { value: "ok" }, "Go on"), " ", el("button", { value: "" }, "Cancel")));
      dialog.addEventListener("close", () => { dialog.remove(); resolve(dialog.returnValue ? input.value : null); });
      document.body.append(dialog);
      dialog.showModal();
    });
  }

  const app = {
    json, cards, stateWords, instruct, mute,
    get admin() { return !!daemon?.admin; },
    follow(name, taken) {
      const before = followed;
      followed = name ? { name, taken } : null;
      if (before?.name !== followed?.name) connect();
    },
    noteQuery(query) {
      const path = location.hash.split("?")[0] || "#/", text = query.toString();
      window.history.replaceState(null, "", text ? `${path}?${text}` : path);
    },
  };

  // ---------------------------------------------------------------- overview

  function overview(params) {
    const cardsArea = el("div", { class: "cards" }), count = el("span", { class: "muted" }), quiet = el("p", { class: "good" });
    const earlierArea = el("div", { class: "cards" }), earlierCount = el("span", { class: "muted" });
    const earlier = el("section", { "aria-labelledby": "earlier-title", hidden: true }, el("div", { class: "heading" }, el("h2", { id: "earlier-title" }, "Earlier incidents"), earlierCount), earlierArea);
    const body = el("tbody"), streamCount = el("span", { class: "muted" });
    search = params.get("search") || "";
    const box = el("input", { type: "search", placeholder: "Find a stream", "aria-label": "Find a stream", value: search });
    let typing = null;
    box.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => { search = box.value; app.noteQuery(new URLSearchParams(search ? { search } : {})); connect(); }, 200);
    });
    const head = [["stream", ""], ["state", ""], ["severity of the last rows", ""], ["now", "right"], ["open since", "wide"], ["a row every", "wide right"], ["last row", "wide"]];
    const empty = el("p", { class: "panel", hidden: true }, "No stream yet. ", el("a", { href: "#/coming-in" }, "See what comes in"), ": readings that arrive, and those that were refused with the setting that would help.");
    const table = el("table", { class: "streams" }, el("caption", { class: "hidden" }, "Streams, worst first"), el("thead", null, el("tr", null, ...head.map(([text, kind]) => el("th", { scope: "col", class: kind }, text)))), body);
    main.replaceChildren(
      el("section", { "aria-labelledby": "incidents-title" }, el("div", { class: "heading" }, el("h2", { id: "incidents-title" }, "Incidents"), count), quiet, cardsArea),
      el("section", { "aria-labelledby": "streams-title" }, el("div", { class: "heading" }, el("h2", { id: "streams-title" }, "Streams"), streamCount, box), empty, table),
      earlier);
    const rows = new Map();

    function row(summary) {
      let known = rows.get(summary.stream);
      if (!known) {
        const canvas = el("canvas", { role: "img" });
        known = { canvas, state: el("td", { class: "state" }), now: el("td", { class: "right" }), since: el("td", { class: "wide" }), period: el("td", { class: "wide right" }), last: el("td", { class: "wide" }) };
        const anchor = el("a", { href: link(summary.stream) }, el("bdi", null, plain(summary.stream)));
        known.tr = el("tr", { onclick: event => { if (event.target !== anchor) location.hash = link(summary.stream); } },
          el("th", { scope: "row" }, anchor), known.state, el("td", null, canvas), known.now, known.since, known.period, known.last);
        rows.set(summary.stream, known);
      }
      const key = JSON.stringify(summary);
      if (known.key === key) return known.tr;
      known.key = key;
      stateWords(known.state, summary);
      known.now.textContent = summary.severity.toFixed(2);
      known.since.textContent = summary.open_since_ms ? moment(summary.open_since_ms) : "";
      known.period.textContent = summary.period_ms ? duration(summary.period_ms) : "–";
      known.last.textContent = summary.last_ms ? moment(summary.last_ms) : "–";
      known.canvas.setAttribute("aria-label", `severity, at most ${Math.max(0, ...summary.spark).toFixed(2)}; 1 is the alarm bar`);
      requestAnimationFrame(() => { if (known.canvas.isConnected) Draw.spark(known.canvas, summary.spark); });
      return known.tr;
    }

    const show = {
      onStreams(list) {
        streamCount.textContent = list.n_streams > list.streams.length ? `${list.n_streams}, the worst ${list.streams.length} shown` : `${list.n_streams}, worst first`;
        empty.hidden = list.n_streams > 0 || search !== "";
        table.hidden = list.streams.length === 0;
        const trs = list.streams.map(row), names = new Set(list.streams.map(s => s.stream));
        if (trs.length !== body.children.length || trs.some((tr, i) => body.children[i] !== tr)) {
          const focused = document.activeElement;
          body.replaceChildren(...trs);
          if (focused && body.contains(focused)) focused.focus();
        }
        for (const name of rows.keys()) if (!names.has(name)) rows.delete(name);
        if (incidents) show.onIncidents(incidents);
      },
      onIncidents(list) {
        incidents = list;
        const open = list.incidents.filter(i => i.end_ms === null), over = list.incidents.filter(i => i.end_ms !== null);
        count.textContent = open.length === 0 ? "" : `${open.length} open, worst first`;
        quiet.textContent = open.length === 0 ? (list.n_incidents === 0 ? "Nothing has been flagged yet." : "Nothing is wrong now.") : "";
        quiet.hidden = open.length > 0;
        cards(cardsArea, open.slice(0, 24));
        earlier.hidden = over.length === 0;
        const n = list.n_incidents - open.length, shown = Math.min(over.length, 12);
        earlierCount.textContent = n > shown ? `${n}, the worst ${shown} shown` : `${n}, worst first`;
        cards(earlierArea, over.slice(0, 12));
      },
      onRows() {}, onReload() {},
      close() { search = ""; },
    };
    let incidents = null;
    if (latest && !search) show.onStreams(latest);
    json("/api/v1/incidents?limit=60").then(list => { if (list && view === show) show.onIncidents(list); });
    if (search) connect();
    return show;
  }

  // ---------------------------------------------------------------- what comes in

  function comingIn() {
    const body = el("tbody"), none = el("p", { class: "good" }), list = el("tbody"), streamsNone = el("p", { class: "muted" }, "No stream has sent anything yet.");
    const table = el("table", { class: "plain" }, el("caption", { class: "hidden" }, "Refused readings"), el("thead", null, el("tr", null, ...["why", "how often", "last topic and payload", "what would help"].map(text => el("th", { scope: "col" }, text)))), body);
    const streams = el("table", { class: "plain" }, el("caption", { class: "hidden" }, "Streams that arrive"), el("thead", null, el("tr", null, ...["stream", "state", "channels", "rows", "last row"].map(text => el("th", { scope: "col", class: text === "channels" ? "wide" : "" }, text)))), list);
    const figures = el("p", { class: "muted" }), inputs = el("tbody");
    const inputTable = el("table", { class: "plain" }, el("caption", { class: "hidden" }, "Messages by input"), el("thead", null, el("tr", null, ...["input", "messages", "readings taken", "refused", "last message"].map(text => el("th", { scope: "col" }, text)))), inputs);
    main.replaceChildren(
      el("section", { class: "panel scroll", "aria-labelledby": "inputs-title" }, el("h2", { id: "inputs-title" }, "Inputs"), inputTable),
      el("section", { class: "panel scroll", "aria-labelledby": "refused-title" }, el("h2", { id: "refused-title" }, "Refused"), none, table),
      el("section", { class: "panel scroll", "aria-labelledby": "taken-title" }, el("h2", { id: "taken-title" }, "Taken"), figures, streamsNone, streams));
    async function refresh() {
      const [answer, came] = await Promise.all([json("/api/v1/refusals"), json("/api/v1/inputs")]);
      if (!answer || !came || view !== show) return;
      inputs.replaceChildren(...came.inputs.map(i => el("tr", null, el("th", { scope: "row" }, el("bdi", null, plain(i.filter))),
        ...[i.messages, i.readings, i.refused].map(n => el("td", null, n.toLocaleString("en"))),
        i.newest_ms === null ? el("td", null, "no message yet") : el("td", null, el("bdi", null, plain(i.newest_topic)), el("br"), el("span", { class: "muted" }, moment(i.newest_ms))))));
      const refusals = answer.refusals || [], explained = new Set(refusals.map(r => r.reason));
      const rest = answer.counts.filter(count => !explained.has(count.reason));
      none.textContent = refusals.length + rest.length === 0 ? "Nothing has been refused." : "";
      none.hidden = refusals.length + rest.length > 0;
      table.hidden = !none.hidden;
      body.replaceChildren(
        ...refusals.map(r => el("tr", null, el("th", { scope: "row" }, r.reason.replace(/_/g, " ")), el("td", null, r.count.toLocaleString("en")),
          el("td", null, el("bdi", null, plain(r.topic)), el("div", { class: "muted" }, r.input === null ? "" : `input ${plain(r.input)}`), el("code", null, plain(r.excerpt)), r.detail ? el("div", { class: "muted" }, plain(r.detail)) : null),
          el("td", null, plain(r.advice)))),
        ...rest.map(c => el("tr", null, el("th", { scope: "row" }, c.reason.replace(/_/g, " ")), el("td", null, c.count.toLocaleString("en")), el("td", null, "–"), el("td", null, "–"))));
    }
    const show = {
      onStreams(now) {
        figures.textContent = `${now.daemon.readings.toLocaleString("en")} readings taken since the start, ${now.daemon.rows.toLocaleString("en")} rows of them.`;
        streamsNone.hidden = now.streams.length > 0;
        streams.hidden = now.streams.length === 0;
        list.replaceChildren(...now.streams.map(s => {
          const state = el("td");
          stateWords(state, s);
          return el("tr", null, el("th", { scope: "row", class: s.stream.length <= 16 ? "whole" : "" }, el("a", { href: link(s.stream) }, el("bdi", null, plain(s.stream)))), state, el("td", { class: "wide" }, String(s.n_channels)), el("td", null, s.rows.toLocaleString("en")), el("td", { class: "whole" }, s.last_ms ? moment(s.last_ms) : "–"));
        }));
      },
      onIncidents() {}, onRows() {}, onReload() {},
      close() { clearInterval(timer); },
    };
    const timer = setInterval(refresh, 2000);
    setTimeout(refresh);
    if (latest) show.onStreams(latest);
    return show;
  }

  // ---------------------------------------------------------------- the daemon

  function daemonView() {
    const body = el("tbody"), reasons = el("p");
    const box = el("input", { type: "search", placeholder: "Find a figure", "aria-label": "Find a figure" });
    main.replaceChildren(el("section", { class: "panel scroll", "aria-labelledby": "daemon-title" },
      el("div", { class: "heading" }, el("h2", { id: "daemon-title" }, "The daemon in figures"), el("a", { href: "/metrics" }, "as Prometheus reads them"), box), reasons,
      el("table", { class: "plain" }, el("caption", { class: "hidden" }, "Figures of the daemon"), el("thead", null, el("tr", null, el("th", { scope: "col" }, "figure"), el("th", { scope: "col", class: "figure" }, "value"), el("th", { scope: "col" }, "meaning"))), body)));
    async function refresh() {
      let text;
      try { text = await (await fetch("/metrics")).text(); } catch { return; }
      if (view !== show) return;
      const help = new Map(), lines = [];
      for (const line of text.split("\n")) {
        const said = /^# HELP (\S+) (.*)$/.exec(line), sample = /^([a-zA-Z_]\w*)(\{[^}]*\})? (\S+)$/.exec(line);
        if (said) help.set(said[1], said[2]);
        else if (sample && !sample[1].endsWith("_bucket") && !(sample[2] && /stream=/.test(sample[2]))) lines.push(sample);
      }
      const wanted = box.value.toLowerCase();
      body.replaceChildren(...lines.filter(s => (s[1] + (s[2] || "")).toLowerCase().includes(wanted)).map(([, name, labels, value]) =>
        el("tr", null, el("th", { scope: "row" }, el("code", null, plain(name + (labels || "")))), el("td", { class: "figure" }, Number.isSafeInteger(Number(value)) ? Number(value).toLocaleString("en") : number(Number(value), 5)), el("td", null, help.get(name) || help.get(name.replace(/_(sum|count)$/, "")) || ""))));
    }
    box.addEventListener("input", refresh);
    const show = {
      onStreams(now) { reasons.textContent = now.daemon.ready ? `Version ${now.daemon.version}. All is well.` : `Version ${now.daemon.version}. Not ready: ${now.daemon.reasons.join(", ")}.`; },
      onIncidents() {}, onRows() {}, onReload() {},
      close() { clearInterval(timer); },
    };
    const timer = setInterval(refresh, 5000);
    setTimeout(refresh);
    if (latest) show.onStreams(latest);
    return show;
  }

  // ---------------------------------------------------------------- routes

  function route() {
    const [path, query] = (location.hash || "#/").split("?"), params = new URLSearchParams(query || "");
    view?.close();
    view = null;
    const stream = /^#\/stream\/(.+)$/.exec(path);
    let current = "overview";
    if (stream) {
      let name = stream[1];
      try { name = decodeURIComponent(name); } catch { /* as it is */ }
      view = StreamView.open(main, name, params, app);
      if (latest) view.onStreams(latest);
      document.title = plain(name) + " · spiked";
      current = null;
    } else if (path === "#/coming-in") {
      view = comingIn();
      current = "coming-in";
      document.title = "Coming in · spiked";
    } else if (path === "#/daemon") {
      view = daemonView();
      current = "daemon";
      document.title = "Daemon · spiked";
    } else {
      view = overview(params);
      document.title = "spiked";
    }
    for (const anchor of document.querySelectorAll(".top nav a")) {
      if (anchor.dataset.view === current) anchor.setAttribute("aria-current", "page"); else anchor.removeAttribute("aria-current");
    }
    window.scrollTo(0, 0);
  }

  window.addEventListener("hashchange", route);
  document.querySelector(".skip").addEventListener("click", event => { event.preventDefault(); main.focus(); });
  connect();
  route();
})();
