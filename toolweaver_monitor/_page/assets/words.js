// Numbers, times and elements: how everything on the page is written.
(function (twm) {
  "use strict";
  const NONE = "—";
  const cents = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
  const days = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const times = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
  const plain = new Intl.NumberFormat("en-US", { maximumFractionDigits: 12 });

  function digits(value) {
    // Three significant digits, without an exponent.
    const places = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
    return value.toFixed(Math.min(places, 12)); // toLocaleString takes fifty times as long
  }

  function count(value) {
    if (value === null || value === undefined) return NONE;
    if (value < 1e6) return plain.format(Math.round(value));
    const [unit, name] = value < 1e9 ? [1e6, "M"] : [1e9, "G"];
    return digits(value / unit) + " " + name;
  }

  function seconds(value) {
    if (value === null || value === undefined) return NONE;
    if (value === 0) return "0 s";
    if (value < 1e-3) return digits(value * 1e6) + " µs";
    if (value < 0.9995) return digits(value * 1e3) + " ms";
    if (value < 119.5) return digits(value) + " s";
    return span(value);
  }

  function rough(value) {
    const [scaled, unit] = value < 0.9995e-3 ? [value * 1e6, "µs"] : value < 0.9995 ? [value * 1e3, "ms"] : [value, "s"];
    return `${Number(scaled.toPrecision(1))} ${unit}`;
  }

  function span(value) {
    if (value < 1) return Math.max(0, value).toFixed(1) + " s";
    if (value < 119.5) return Math.round(value) + " s";
    if (value < 7170) return Math.round(value / 60) + " min";
    if (value < 172000) {
      const minutes = Math.round(value / 60);
      return Math.floor(minutes / 60) + " h " + (minutes % 60) + " min";
    }
    return Math.round(value / 86400) + " days";
  }

  function dollars(value) {
    if (value === null || value === undefined) return NONE;
    if (value === 0) return "$0";
    if (value >= 0.995) return "$" + cents.format(value);
    return "$" + digits(value).replace(/(\.\d\d\d*?)0+$/, "$1");
  }

  function percent(value) {
    if (value === null || value === undefined || !isFinite(value)) return NONE;
    const of100 = value * 100;
    if (of100 === 0) return "0 %";
    if (of100 < 0.05) return "<0.1 %";
    return (of100 < 9.95 ? of100.toFixed(1) : Math.round(of100)) + " %";
  }

  function ago(at, now) {
    const passed = now - at;
    return passed < 2 ? "just now" : span(passed) + " ago";
  }

  function clock(at) {
    return dates.format(at * 1000);
  }

  function time(at) {
    return times.format(at * 1000);
  }

  function exact(value, unit) {
    return value === null || value === undefined ? "unknown, or none" : plain.format(value) + (unit ? " " + unit : "");
  }

  function plural(value, noun) {
    return count(value) + " " + noun + (value === 1 ? "" : "s");
  }

  // The colour of a name, from the name; the first eight of a kind have one each.
  const HUES = 8, hues = {};
  function hue(name, kind) {
    const given = (hues[kind || "tool"] ||= new Map());
    if (given.has(name)) return "h" + given.get(name);
    let hash = 7;
    for (let i = 0; i < name.length; i++) hash = (hash * 31 + name.charCodeAt(i)) >>> 0;
    let found = hash % HUES;
    if (given.size < HUES) {
      const taken = new Set(given.values());
      while (taken.has(found)) found = (found + 1) % HUES;
      given.set(name, found);
    }
    return "h" + found;
  }

  // Texts go in as text nodes only; there is no way to hand in markup, and no attribute that runs or styles.
  function fill(node, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : String(value));
    }
    for (const child of children.flat(Infinity)) {
      if (child !== null && child !== undefined && child !== false) {
        node.append(child instanceof Node ? child : document.createTextNode(String(child)));
      }
    }
    return node;
  }
  function el(tag, attributes, ...children) {
    return fill(document.createElement(tag), attributes, children);
  }
  function svg(tag, attributes, ...children) {
    return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  }
  function moment(at, now) {
    return el("time", { "data-at": at, title: clock(at) }, twm.saved ? days.format(at * 1000) : ago(at, now));
  }

  Object.assign(twm, { NONE, count, seconds, rough, span, dollars, percent, ago, clock, time, exact, plural, hue, el, svg, moment });
})((window.twm = window.twm || {}));
