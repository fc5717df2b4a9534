// Elements, and numbers, times and names in words; adds one global, `Words`, which `Draw` is built on.
//
// It builds elements and text nodes only, never markup: names are shown as text.
"use strict";
const Words = (() => {
  /** An element with properties and children; strings become text. */
  function el(tag, props, ...children) {
    const e = document.createElement(tag);
    for (const [key, value] of Object.entries(props || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "class") e.className = value;
      else if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
      else if (key in e && key !== "list" && typeof value !== "object") e[key] = value;
      else e.setAttribute(key, value === true ? "" : value);
    }
    e.append(...children.flat().filter(c => c !== null && c !== undefined && c !== false));
    return e;
  }

  /** A name as readable text: control and direction marks become visible, so that none acts. */
  function plain(name) {
    return String(name).replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
      c => "\u27e8" + c.codePointAt(0).toString(16).padStart(4, "0") + "\u27e9");
  }

  /** A number with as many digits as help. */
  function number(x, digits = 4) {
    if (x === null || x === undefined || !Number.isFinite(x)) return "–";
    const size = Math.abs(x);
    if (size !== 0 && (size >= 1e7 || size < 1e-4)) return x.toExponential(Math.max(digits - 2, 1)).replace("-", "−");
    const decimals = size === 0 ? 0 : Math.min(Math.max(digits - 1 - Math.floor(Math.log10(size)), 0), 8);
    return x.toFixed(decimals).replace("-", "−");
  }

  /** Decimals with which a measured value came. */
  function ownDecimals(x) {
    const text = String(x), [mantissa, exponent] = text.split("e");
    return Math.max((mantissa.split(".")[1] || "").length - Number(exponent || 0), 0);
  }

  /** A value with as many decimals as its standard deviation asks for, and no more than `most`. */
  function measured(x, sd, most = 8) {
    if (x === null || x === undefined || !Number.isFinite(x)) return "–";
    if (!(sd > 0) || !Number.isFinite(sd)) return number(x, 5);
    const decimals = Math.min(Math.max(1 - Math.floor(Math.log10(sd)), 0), most);
    if (Math.abs(x) >= 1e9 || decimals > 8) return number(x, 6);
    return x.toFixed(decimals).replace("-", "−");
  }

  /** A measured value and what was expected, as texts. A value has the decimals
   *  it came with, a prediction two more at most, since a channel that rests is predicted far within its resolution. */
  function compared(value, mean, sd) {
    const own = value === null ? 8 : ownDecimals(value), known = value !== null && mean !== null && sd >= 0 && sd !== null;
    const z = !known || (sd === 0 && value === mean) ? null : (value - mean) / sd, size = Math.abs(z);
    return {
      value: measured(value, sd || 1e-8, own), mean: measured(mean, sd || 1e-8, sd ? own + 2 : own), spread: sd > 0 ? ` ± ${number(sd, 2)}` : "", z,
      distance: z === null ? "–" : size >= 1000 ? "> 1000 sd" : `${size < 0.05 ? "" : z < 0 ? "−" : "+"}${size >= 100 ? Math.round(size) : size.toFixed(1)} sd`,
    };
  }

  const share = x => x > 0 && x < 0.005 ? "< 1 %" : Math.round(100 * x) + " %";
  const withUnit = (text, unit) => unit ? text + "\u202f" + plain(unit) : text;

  /** A length of time in words. */
  function duration(ms) {
    const s = Math.max(ms, 0) / 1000;
    if (s < 1) return Math.round(ms) + " ms";
    if (s < 90) return Math.round(s) + " s";
    if (s < 90 * 60) return Math.round(s / 60) + " min";
    if (s < 36 * 3600) return (s / 3600).toFixed(s < 36000 ? 1 : 0) + " h";
    return (s / 86400).toFixed(s < 864000 ? 1 : 0) + " days";
  }

  const two = n => String(n).padStart(2, "0");
  /** A moment in the viewer's time: `2024-01-01 06:00:30`. */
  function moment(ms) {
    const d = new Date(ms);
    return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${clock(ms)}`;
  }
  function clock(ms) {
    const d = new Date(ms);
    return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
  }

  const KINDS = {
    surprise: "jumped away from what was expected",
    drift: "moved away from its usual level",
    novelty: "shows something never seen before",
    gap: "sends nothing",
    stuck: "stands still",
    silent: "has fallen silent",
  };
  /** What an incident's first channel does, in words. */
  const kindWords = kind => KINDS[kind] || String(kind).replace(/_/g, " ");

  return { el, plain, number, measured, compared, share, withUnit, duration, two, moment, clock, kindWords };
})();
