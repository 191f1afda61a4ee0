// The table of tools: sorted, filtered, and with only the visible rows drawn.
(function (twm) {
  "use strict";
  const { el } = twm;
  const SPARK = 96;

  const rate = (row) => (row.rated ? row.failed / row.rated : null);
  const COLUMNS = [
    { key: "name", title: "", of: (row) => row.name, text: true },
    { key: "calls", title: "calls", of: (row) => row.calls, cell: (row) => [twm.count(row.calls), twm.exact(row.calls, "calls")] },
    { key: "failed", title: "failed", of: (row) => row.failed, cell: (row) => [row.failed ? "✕ " + twm.count(row.failed) : "0", twm.exact(row.failed, "failed or timed out")], tone: (row) => row.failed && "bad" },
    { key: "rate", title: "rate", of: rate, cell: (row) => [twm.percent(rate(row)), "of " + twm.exact(row.rated, "calls that succeeded, failed or timed out")], tone: (row) => rate(row) > 0 && "bad", mid: true },
    { key: "p50", title: "p50", of: (row) => row.p50, cell: (row) => [twm.seconds(row.p50), twm.exact(row.p50, "s")], mid: true },
    { key: "p95", title: "p95", of: (row) => row.p95, cell: (row) => [twm.seconds(row.p95), twm.exact(row.p95, "s")] },
    { key: "p99", title: "p99", of: (row) => row.p99, cell: (row) => [twm.seconds(row.p99), twm.exact(row.p99, "s")], mid: true },
    { key: "tokens", title: "tokens", of: (row) => row.tokens, cell: (row) => [row.tokens ? twm.count(row.tokens) : twm.NONE, `${twm.exact(row.input_tokens)} input, ${twm.exact(row.output_tokens)} output, ${twm.exact(row.cached_tokens)} of the input cached`], mid: true },
    { key: "cost", title: "cost", of: (row) => row.cost, cell: (row) => [twm.dollars(row.cost), twm.exact(row.cost, "dollars")] },
    { key: "share", title: "share", of: (row) => row.cost, cell: null, mid: true },
    { key: "retries", title: "retries", of: (row) => row.retries, cell: (row) => [row.retries ? twm.count(row.retries) : "0", "second and later attempts"], wide: true, rare: true },
    { key: "unpriced", title: "unpriced", of: (row) => row.unpriced, cell: (row) => [row.unpriced ? "! " + twm.count(row.unpriced) : "0", "calls with tokens or a model, of unknown cost"], tone: (row) => row.unpriced && "warn", wide: true, rare: true },
    { key: "trend", title: "trend", of: (row) => (row.history.length ? row.history[row.history.length - 1][0] : 0), wide: true, left: true },
    { key: "last", title: "last error", of: (row) => (row.last ? row.last.at : 0), wide: true, left: true },
  ];

  function Table(table, open) {
    this.table = table;
    this.box = table.parentNode;
    this.open = open;
    this.sort = "cost";
    this.down = true;
    this.filter = "";
    this.rows = [];
    this.drawn = new Map();
    this.chosen = null;
    this.height = 0; // of a row, and how many can be seen: measured once, since to ask costs a layout
    this.seen = 0;
    const redraw = () => { cancelAnimationFrame(this.frame); this.frame = requestAnimationFrame(() => this.draw()); };
    this.top = 0;
    this.box.addEventListener("scroll", () => { this.top = this.box.scrollTop; redraw(); }, { passive: true });
    addEventListener("resize", () => { this.seen = 0; redraw(); });
    this.focused = null;
    table.tBodies[0].addEventListener("focusin", (event) => { this.focused = event.target.closest("tr").getAttribute("data-tool"); });
    table.tBodies[0].addEventListener("focusout", (event) => { if (event.target.isConnected) this.focused = null; });
    table.tBodies[0].addEventListener("keydown", (event) => this.onKey(event));
  }

  Table.prototype.set = function (tools, view) {
    this.view = view;
    const words = this.filter.toLowerCase().split(/\s+/).filter(Boolean);
    const column = COLUMNS.find((each) => each.key === this.sort) || COLUMNS[1];
    const sign = this.down ? -1 : 1;
    this.slowest = Math.max(0, ...tools.map((row) => row.p95 || 0));
    this.rare = COLUMNS.filter((each) => each.rare && !tools.some((row) => row[each.key])).map((each) => each.key);
    this.rows = tools
      .filter((row) => words.every((word) => row.name.toLowerCase().includes(word)))
      .sort((a, b) => {
        const x = column.of(a), y = column.of(b);
        if (x === y) return b.calls - a.calls || (a.name < b.name ? -1 : 1);
        if (x === null) return 1;
        if (y === null) return -1;
        return (x < y ? -1 : 1) * sign;
      });
    this.head();
    this.draw();
    return this.rows.length;
  };

  Table.prototype.shown = function () {
    return COLUMNS.filter((column) => !this.rare.includes(column.key));
  };

  Table.prototype.head = function () {
    const named = [this.sort, this.down, this.rare, this.view.noun].join();
    if (this.headed === named) return;
    this.headed = named;
    this.drawn.clear();
    const cells = this.shown().map((column) => {
      const sorted = column.key === this.sort;
      return el("th", { scope: "col", class: classes(column), "aria-sort": sorted ? (this.down ? "descending" : "ascending") : null },
        el("button", { type: "button", "data-sort": column.key, onclick: () => this.resort(column) }, column.title || this.view.noun, el("span", { class: "arrow", "aria-hidden": "true" }, sorted ? (this.down ? "▾" : "▴") : "")));
    });
    const focused = document.activeElement && document.activeElement.getAttribute("data-sort");
    this.table.tHead.replaceChildren(el("tr", {}, cells));
    if (focused) this.table.tHead.querySelector(`[data-sort="${focused}"]`).focus();
  };

  Table.prototype.resort = function (column) {
    this.down = this.sort === column.key ? !this.down : !column.text;
    this.sort = column.key;
    this.onsort();
  };

  function classes(column) {
    return (column.text || column.left ? "left" : "num") + (column.wide ? " for-wide" : "") + (column.mid ? " for-mid" : "") + " c-" + column.key;
  }

  Table.prototype.draw = function () {
    const body = this.table.tBodies[0];
    if (!this.view) return;
    const count = this.rows.length;
    let from = 0, to = count;
    if (count > 80) {
      if (!this.seen) {
        this.height = parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row")) || 30;
        this.seen = Math.ceil(620 / this.height);
      }
      const seen = this.seen;
      from = Math.max(0, Math.min(count - seen, Math.floor(this.top / this.height) - 5));
      to = Math.min(count, from + seen + 10);
    }
    const name = this.focused; // noted by events: to ask for document.activeElement costs a layout
    const wanted = [];
    for (let at = from; at < to; at++) wanted.push(this.row(this.rows[at], at));
    if (from > 0) wanted.unshift(space(from * this.height));
    if (to < count) wanted.push(space((count - to) * this.height));
    const same = wanted.length === body.rows.length && wanted.every((row, at) => body.rows[at] === row);
    if (!same) {
      body.replaceChildren(...wanted);
      if (name !== null) { const again = [...body.rows].find((row) => row.getAttribute("data-tool") === name); if (again) again.focus({ preventScroll: true }); }
    }
    if (this.drawn.size > 400) this.drawn.clear();
  };

  function space(height) {
    const cell = el("td"); // without a span, which would make columns of those that are hidden
    cell.style.height = height + "px";
    return el("tr", { class: "space", "aria-hidden": "true" }, cell);
  }

  Table.prototype.row = function (row, at) {
    const { cost, period } = this.view;
    const mark = [cost, period, this.slowest, this.chosen === row.name, at === 0].join();
    const known = this.drawn.get(row.name);
    if (known && known.row === row && known.mark === mark) return known.element;
    const cells = this.shown().map((column) => {
      const tone = column.tone && column.tone(row);
      const attributes = { class: classes(column) + (tone ? " " + tone : "") };
      if (column.key === "name") return el("th", { scope: "row", class: attributes.class, title: row.name }, el("span", { class: "dot " + twm.hue(row.name, this.view.by) }), el("span", { class: "name" }, row.name));
      if (column.key === "share") return share(row, cost, attributes);
      if (column.key === "p95") return slow(row, this.slowest, attributes);
      if (column.key === "trend") return el("td", attributes, twm.spark(periods(row, period, this.view.periods), SPARK, 20, "calls over time"));
      if (column.key === "last") return lastError(row, attributes, this.view.now);
      const [text, title] = column.cell(row);
      return el("td", { ...attributes, title }, text);
    });
    const element = el("tr", { "data-tool": row.name, tabindex: known ? known.element.tabIndex : at === 0 ? 0 : -1, "aria-selected": this.chosen === row.name ? "true" : null,
      class: this.chosen === row.name ? "chosen" : null, onclick: () => this.open(row.name) }, cells);
    if (known && known.element.parentNode) {
      const focused = this.focused === row.name;
      known.element.replaceWith(element);
      if (focused) element.focus({ preventScroll: true });
    }
    this.drawn.set(row.name, { row, mark, element });
    return element;
  };

  function meter(part) {
    return twm.svg("svg", { class: "meter", width: 32, height: 8, "aria-hidden": "true" }, twm.svg("rect", { class: "under", width: 32, height: 8 }), twm.svg("rect", { class: "bar", width: 32 * (part || 0), height: 8 }));
  }

  function slow(row, slowest, attributes) {
    const cell = el("td", { ...attributes, title: twm.exact(row.p95, "s") }, el("span", {}, twm.seconds(row.p95)));
    cell.append(meter(slowest ? row.p95 / slowest : 0));
    return cell;
  }

  function share(row, cost, attributes) {
    const part = cost && row.cost !== null ? row.cost / cost : null;
    const cell = el("td", attributes, el("span", {}, part === null ? twm.NONE : twm.percent(part)));
    cell.append(meter(part));
    return cell;
  }

  function lastError(row, attributes, now) {
    if (!row.last) return el("td", attributes, el("span", { class: "dim" }, twm.NONE));
    return el("td", { ...attributes, title: `${row.last.type || row.last.outcome}: ${row.last.text}` },
      el("span", { class: "kind" }, row.last.type || row.last.outcome), " ", twm.moment(row.last.at, now));
  }

  function periods(row, last, length) {
    const values = new Array(length).fill(null);
    for (const [at, calls, failed] of row.history) {
      const place = at - (last - length + 1);
      if (place >= 0 && place < length) values[place] = [calls, failed];
    }
    return values;
  }

  Table.prototype.onKey = function (event) {
    const row = event.target.closest("tr[data-tool]");
    if (!row) return;
    const at = this.rows.findIndex((each) => each.name === row.getAttribute("data-tool"));
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -this.rows.length, End: this.rows.length }[event.key];
    if (step) {
      event.preventDefault();
      const to = Math.max(0, Math.min(this.rows.length - 1, at + step));
      this.focus(this.rows[to].name, to);
    } else if (event.key === "Enter") {
      this.open(this.rows[at].name);
    }
  };

  Table.prototype.focus = function (name, at) {
    const body = this.table.tBodies[0];
    let row = [...body.rows].find((each) => each.getAttribute("data-tool") === name);
    if (!row) {
      this.box.scrollTop = at * this.height - this.box.clientHeight / 2;
      this.top = this.box.scrollTop;
      this.draw();
      row = [...body.rows].find((each) => each.getAttribute("data-tool") === name);
    }
    if (!row) return;
    for (const each of body.querySelectorAll('tr[tabindex="0"]')) each.tabIndex = -1;
    row.tabIndex = 0;
    row.focus();
    row.scrollIntoView({ block: "nearest" });
  };

  Object.assign(twm, { Table, periods });
})((window.twm = window.twm || {}));
