// The page as a whole: its address, its figures, and when they are asked for.
(function (twm) {
  "use strict";
  const { el } = twm;
  const $ = (id) => document.getElementById(id);
  const EVERY_MS = 1000, PATIENT_MS = 5000, PERIODS = 60;
  let periodS = 15; // seconds of one bar in a trend; longer in the file of a store
  const WEIGHTS = ["cost", "time", "calls", "tokens"];

  const data = { tools: new Map(), about: {}, total: null, active: [], budgets: [], errors: [], latest: [], unpriced: [], tree: null, problems: [] };
  const inside = $("figures") ? JSON.parse($("figures").textContent) : null; // one file with its figures, and no program behind it
  let flameWidth = 0; // to ask the browser again costs a layout of the page
  let cursor = "", skew = 0, answered = 0, failing = "", details = new Map();

  twm.saved = Boolean(inside); // times are absolute then: nobody knows when it is read

  const now = () => (inside ? inside.now : Date.now() / 1000 + skew);
  const address = () => new URLSearchParams(location.hash.slice(1));
  function link(changes) {
    const next = address();
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) next.delete(name);
      else next.set(name, value);
    }
    return "#" + next.toString();
  }
  const go = (changes) => { location.hash = link(changes); };
  const replace = (changes) => { history.replaceState(null, "", link(changes)); draw(); };

  const table = new twm.Table($("tools-table"), (tool) => go({ tool, call: null }));
  table.onsort = () => replace({ sort: (table.down ? "-" : "") + table.sort });

  // --- figures ---

  function take(answer) {
    if (answer.full) data.tools.clear();
    cursor = answer.v;
    periodS = answer.period_s || periodS;
    skew = answer.now - Date.now() / 1000;
    for (const name of ["about", "total", "active", "budgets", "errors", "latest", "unpriced", "tree", "problems"]) {
      if (name in answer) data[name] = answer[name];
    }
    twm.saved = Boolean(inside || data.about.saved); // a store whose programs have ended stands still, too
    const oldest = Math.floor(answer.now / periodS) - PERIODS;
    for (const row of answer.tools) {
      const earlier = data.tools.get(row.name), first = row.history.length ? row.history[0][0] : Infinity;
      if (earlier) row.history = [...earlier.history.filter((period) => period[0] < first && period[0] >= oldest), ...row.history];
      data.tools.set(row.name, row);
    }
    return answer.tools.map((row) => row.name);
  }

  async function poll() {
    let wait = EVERY_MS;
    try {
      const answer = await fetch("data.json?since=" + encodeURIComponent(cursor), { cache: "no-store", headers: cursor ? { "If-None-Match": `"${cursor}"` } : {} });
      if (answer.status === 200) {
        const changed = take(await answer.json());
        if (changed.includes(address().get("tool"))) fetchDetail(true);
      } else if (answer.status !== 304) throw new Error(answer.status === 401 ? "the token is not accepted" : "answer " + answer.status);
      failing = "";
      answered = Date.now();
    } catch (error) {
      failing = error instanceof TypeError || error.name === "SyntaxError" ? "no answer" : error.message;
      wait = PATIENT_MS;
    }
    draw();
    if (document.hidden) document.addEventListener("visibilitychange", poll, { once: true });
    else setTimeout(poll, wait);
  }

  async function fetchDetail(again) {
    const at = address(), call = at.get("call"), tool = at.get("tool");
    const key = call ? "call " + call : tool ? "tool " + tool : "";
    if (!key) return;
    if (inside) {
      details.set(key, (call ? inside.traces[call] : inside.details[tool]) || null);
      return drawDetail();
    }
    if (call && details.get(key) && again) return;
    try {
      const answer = await fetch(call ? "trace.json?id=" + encodeURIComponent(call) : "tool.json?name=" + encodeURIComponent(tool), { cache: "no-store" });
      details.set(key, answer.ok ? await answer.json() : null);
      if (details.size > 50) details = new Map([...details].slice(-20));
    } catch { /* the next poll says so */ }
    drawDetail();
  }

  // --- drawing ---

  function view() {
    // A young program fills the width: its figures start where it started.
    const period = Math.floor(now() / periodS), old = period - Math.floor((data.about.since || 0) / periodS) + 1;
    return { now: now(), period, periods: Math.max(12, Math.min(PERIODS, old)), cost: data.total ? data.total.cost : null, link, missing: inside ? "This is not in the file." : "The program keeps its latest calls only; this is no longer among them." };
  }

  function draw() {
    const shown = view(), at = address();
    drawBar(shown);
    const empty = data.total !== null && data.total.calls === 0;
    $("empty").hidden = !empty || data.active.length > 0;
    $("body").hidden = data.total === null || empty;
    $("first").hidden = data.total === null;
    if (data.total === null) return;
    drawProblems();
    drawFirst(shown);
    const sort = at.get("sort");
    if (sort) { table.down = sort.startsWith("-"); table.sort = sort.replace("-", ""); }
    else { table.sort = data.total.cost ? "cost" : "calls"; table.down = true; }
    table.filter = at.get("filter") || "";
    table.chosen = at.get("tool");
    const many = data.tools.size > 25;
    table.box.classList.toggle("many", many);
    const matching = table.set([...data.tools.values()], shown);
    $("tools-note").textContent = table.filter ? `${twm.count(matching)} of ${twm.plural(data.tools.size, "tool")} match "${table.filter}"` : twm.plural(data.tools.size, "tool");
    drawFlame();
    drawErrors(shown);
    drawDetail();
  }

  function once(name, parts, make) {
    // Draws only if something has changed, so that nothing flickers and a selection stays.
    const before = once[name];
    if (before && parts.every((part, at) => part === before[at])) return;
    once[name] = parts;
    make();
  }

  function drawBar(shown) {
    const { about } = data;
    if (about.name) {
      document.title = about.name + " · tools";
      $("program").textContent = about.name;
      const since = about.since ? (inside ? `figures of ${twm.clock(inside.now)}` : `${about.closed ? "monitored" : "running"} ${twm.span(shown.now - about.since)}`) : "";
      $("about").textContent = [since, about.runs ? twm.plural(about.runs, "run") : "", about.pid ? "pid " + about.pid : "", about.note || ""].filter(Boolean).join(" · ");
      $("about").title = about.since ? "since " + twm.clock(about.since) + (about.host ? " on " + about.host : "") : "";
    }
    let words = "", tone = "";
    const last = lastPeriod();
    if (failing) {
      words = answered ? `✕ ${failing} since ${twm.clock(answered / 1000)}; these are the last figures. Trying again.` : `✕ ${failing}. Trying again.`;
      tone = "bad";
    } else if (inside) words = "saved page";
    else if (about.closed) { words = "ended; these are its last figures"; tone = "warn"; }
    else if (data.active.length) words = "● running";
    else if (last && shown.now - last > 90) words = `quiet: no call for ${twm.span(shown.now - last)}`;
    else if (data.total) words = "● live";
    $("state").textContent = words;
    $("state").className = tone;
    document.body.classList.toggle("off", Boolean(failing));
  }

  function lastPeriod() {
    let last = 0;
    for (const row of data.tools.values()) if (row.history.length) last = Math.max(last, row.history[row.history.length - 1][0]);
    return last ? (last + 1) * periodS : 0;
  }

  function drawProblems() {
    once("problems", [data.problems], () => {
      $("problems").hidden = !data.problems.length;
      $("problems").replaceChildren(...data.problems.map((text) => el("li", {}, "! " + text)));
    });
  }

  function sums(shown) {
    const values = Array.from({ length: shown.periods }, () => [0, 0, 0]);
    for (const row of data.tools.values()) {
      for (const [at, calls, failed, cost] of row.history) {
        const place = at - (shown.period - shown.periods + 1);
        if (place >= 0 && place < shown.periods) { values[place][0] += calls; values[place][1] += failed; values[place][2] += cost; }
      }
    }
    return values;
  }

  function tile(title, big, small, figure, tone, exact) {
    return el("div", { class: "tile" }, el("h2", {}, title), el("p", { class: "big " + (tone || ""), title: exact }, big), el("p", { class: "small" }, small), figure);
  }

  function drawFirst(shown) {
    const { total, active, budgets } = data, stored = Boolean(data.about.runs);
    once("first", [total, active, budgets, shown.period, failing ? 0 : active.length || budgets.some((one) => one.frees_at) ? Math.floor(shown.now) : 0], () => {
      const values = sums(shown), width = 180;
      const rate = total.rated ? total.failed / total.rated : null;
      const covered = Math.max(60, Math.min(PERIODS * periodS, shown.now - (data.about.since || 0)));
      const spent = values.reduce((sum, value) => sum + value[2], 0), hourly = (spent / covered) * 3600;
      const recent = values.reduce((sum, value) => sum + value[0], 0);
      const tiles = [
        tile("Calls", twm.count(total.calls), stored && recent === total.calls ? `in ${twm.span(shown.now - data.about.since)}` : `${twm.count(recent)} in the last ${twm.span(covered)}`, twm.spark(values, width, 28, "calls over time"), "", twm.exact(total.calls, "calls")),
        tile("Failed", total.failed ? "✕ " + twm.count(total.failed) : "0", rate === null ? "of no call yet" : `${twm.percent(rate)} of ${twm.plural(total.rated, "call")}`, twm.spark(values.map((value) => [value[1], value[1]]), width, 28, "failed calls over time"), total.failed ? "bad" : "", twm.exact(total.failed, "failed or timed out")),
        tile("Money", twm.dollars(total.cost), [hourly ? `${twm.dollars(hourly)} an hour` : total.cost === null ? "no call has a known cost" : "nothing in the last quarter of an hour", total.unpriced ? [" · ", el("span", { class: "warn" }, `! ${twm.count(total.unpriced)} unpriced`)] : null], twm.spark(values.map((value) => [value[2] * 1e9, 0]), width, 28, "money over time"), "", twm.exact(total.cost, "dollars")),
        ...(stored ? [] : [budgetTile(budgets, hourly, shown), activeTile(active, shown)]), // a store holds neither
      ];
      $("first").replaceChildren(...tiles);
    });
  }

  function budgetTile(budgets, hourly, shown) {
    const spendable = budgets.filter((one) => one.unit !== "repeats");
    if (!spendable.length) return tile("Budget", twm.NONE, "no limit is set", null, "dim", "setup(budget=5.00) sets one");
    const amount = (value, unit) => (unit === "usd" ? twm.dollars(value) : `${twm.count(value)} ${unit}`);
    const ranked = [...spendable].sort((a, b) => b.rejections - a.rejections || a.remaining / (a.limit || 1) - b.remaining / (b.limit || 1));
    const lines = ranked.slice(0, 3).map((one) => {
      const used = one.limit ? Math.min(1, (one.limit - one.remaining) / one.limit) : 1;
      const tone = one.remaining <= 0 || one.rejections ? "bad" : used >= 0.8 ? "warn" : "";
      const bar = twm.svg("svg", { class: "gauge " + tone, viewBox: "0 0 180 6", width: 180, height: 6, preserveAspectRatio: "none", "aria-hidden": "true" }, twm.svg("rect", { class: "under", width: 180, height: 6, rx: 2 }), twm.svg("rect", { class: "bar", width: 180 * used, height: 6, rx: 2 }));
      let when = "";
      if (one.rejections) when = `✕ ${twm.count(one.rejections)} refused`;
      else if (one.frees_at) when = `room again in ${twm.span(one.frees_at - shown.now)}`;
      else if (one.remaining <= 0) when = "! used up";
      else if (one.unit === "usd" && hourly > 0 && one.remaining / hourly < 48) when = `gone in ${twm.span((one.remaining / hourly) * 3600)}`;
      return el("div", { class: "budget" }, el("p", { class: tone, title: `${one.name}: ${twm.exact(one.spent)} spent of ${twm.exact(one.limit)} ${one.unit}` }, `${amount(one.remaining, one.unit)} left of ${amount(one.limit, one.unit)}`), bar, el("p", { class: "small" }, el("span", { class: "cut" }, `${one.name}, per ${one.per}`), when ? ` · ${when}` : ""));
    });
    const more = spendable.length > 3 ? el("p", { class: "small" }, `and ${spendable.length - 3} more`) : null;
    return el("div", { class: "tile" }, el("h2", {}, "Budget"), lines, more);
  }

  function activeTile(active, shown) {
    const calls = active.reduce((sum, row) => sum + row[1], 0);
    const rows = active.slice(0, 4).map(([name, count, since]) => el("tr", {}, el("th", { scope: "row", class: "left", title: name }, el("span", { class: "dot " + twm.hue(name) }), el("span", { class: "name" }, name)), el("td", { class: "num" }, twm.count(count)), el("td", { class: "num dim", title: "the oldest has run so long" }, twm.span(shown.now - since))));
    return el("div", { class: "tile active" }, el("h2", {}, "Running now"), calls ? el("p", { class: "small" }, twm.plural(calls, "call")) : el("p", { class: "big dim" }, "0"),
      rows.length ? el("table", {}, el("tbody", {}, rows)) : el("p", { class: "small" }, "nothing runs"), active.length > 4 ? el("p", { class: "small" }, `and ${active.length - 4} more tools`) : null);
  }

  function drawFlame() {
    const at = address(), tree = data.tree;
    if (!tree) return;
    const chosen = WEIGHTS.includes(at.get("weight")) ? at.get("weight") : data.total.cost ? "cost" : "time";
    let zoom = [];
    try { zoom = JSON.parse(at.get("zoom") || "[]").map(String); } catch { /* an address that someone has edited */ }
    const width = Math.max(240, flameWidth || (flameWidth = $("flame").clientWidth));
    once("flame", [tree, chosen, JSON.stringify(zoom), width], () => {
      $("weights").replaceChildren(...WEIGHTS.map((name) => el("button", { type: "button", "aria-pressed": String(name === chosen), onclick: () => replace({ weight: name }) }, name)));
      const focused = document.activeElement && document.activeElement.getAttribute("data-path");
      const { figure, total, scaled } = twm.flame(tree.frames, chosen, zoom, width, (path) => {
        const same = JSON.stringify(path) === JSON.stringify(zoom);
        go({ zoom: same ? (path.length > 1 ? JSON.stringify(path.slice(0, -1)) : null) : JSON.stringify(path) });
      });
      const words = [];
      if (!total) words.push({ cost: "No call has a known cost: choose another weight.", tokens: "No call has used tokens: choose another weight." }[chosen] || "No call has ended yet.");
      if (zoom.length) words.push("Zoomed in; click the bar again, or press Esc, to go back.");
      if (scaled) words.push("Calls inside ran at once: they are drawn scaled to the bar around them.");
      if (tree.left_out) words.push(`${twm.plural(tree.left_out, "lighter path")} left out.`);
      $("flame-note").textContent = words.join(" ");
      $("flame-figure").replaceChildren(figure);
      if (focused) { const again = [...figure.querySelectorAll("[data-path]")].find((frame) => frame.getAttribute("data-path") === focused); if (again) again.focus({ preventScroll: true }); }
    });
  }

  function drawErrors(shown) {
    once("errors", [data.errors, data.latest, data.unpriced], () => {
      const head = (names) => el("thead", {}, el("tr", {}, names.map(([name, kind]) => el("th", { scope: "col", class: kind }, name))));
      $("errors-body").replaceChildren(data.errors.length ? el("table", { class: "calls" }, head([["type", "left"], ["count", "num"], ["first", "left for-mid"], ["last", "left"], ["tools", "left for-mid"]]),
        el("tbody", {}, data.errors.map((error) => el("tr", { title: error.text }, el("th", { scope: "row", class: "left text kind" }, error.type), el("td", { class: "num" }, twm.count(error.count)), el("td", { class: "left for-mid" }, error.first ? twm.moment(error.first, shown.now) : twm.NONE), el("td", { class: "left" }, error.last ? twm.moment(error.last, shown.now) : twm.NONE), el("td", { class: "left text for-mid" }, error.tools.slice(0, 5).join(", ") + (error.tools.length > 5 ? ` and ${error.tools.length - 5} more` : "")))))) : el("p", { class: "dim" }, "No call has failed."));
      $("latest").hidden = !data.latest.length;
      $("latest-body").replaceChildren(el("table", { class: "calls" }, head([["ended", "left"], ["tool", "left"], ["error", "left"]]), el("tbody", {}, data.latest.slice(0, 10).map((error) => el("tr", {}, el("td", { class: "left" }, el("a", { href: link({ tool: error.tool, call: error.id }) }, twm.moment(error.at, shown.now))), el("td", { class: "left text" }, error.tool), el("td", { class: "left text", title: error.text }, el("div", { class: "clamp" }, el("span", { class: "kind" }, error.type || error.outcome), error.text ? " " + error.text : "")))))));
      $("unpriced").hidden = !data.unpriced.length;
      $("unpriced-body").replaceChildren(el("table", { class: "calls" }, head([["tool", "left"], ["model", "left"], ["calls", "num"]]), el("tbody", {}, data.unpriced.slice(0, 20).map(([tool, model, calls]) => el("tr", {}, el("th", { scope: "row", class: "left text" }, tool), el("td", { class: "left text" }, model === null ? twm.NONE : model || "no model was named"), el("td", { class: "num warn" }, "! " + twm.count(calls)))))), el("p", { class: "dim" }, "Their cost is not in any figure above. setup(prices=...) prices them; docs/how-to/costs.md."));
    });
  }

  function drawDetail() {
    const at = address(), call = at.get("call"), tool = at.get("tool"), panel = $("detail");
    const open = Boolean(call || tool);
    document.body.classList.toggle("open", open);
    if (!open) { panel.hidden = true; once.detail = null; return; }
    const shown = view(), key = call ? "call " + call : "tool " + tool, row = data.tools.get(tool), found = details.get(key);
    panel.hidden = false;
    const width = Math.max(240, panel.clientWidth - 32);
    once("detail", [key, row, found, width, found === undefined ? 0 : shown.period], () => {
      const scrolled = panel.scrollTop;
      const close = el("a", { class: "button", href: link({ tool: call ? tool : null, call: null }), "aria-label": call ? "Back to the tool" : "Close" }, call && tool ? "‹ back" : "✕ close");
      const title = el("h2", { tabindex: -1 }, el("span", { class: "dot " + twm.hue(tool || "") }), el("span", { class: "name" }, call ? (tool ? tool + ": one call" : "one call") : tool));
      const body = found === undefined ? [el("p", { class: "dim" }, "…")] : call ? twm.detailOfTrace(found, shown, width) : row ? twm.detailOfTool(row, found, shown, width) : [el("p", {}, "There is no such tool.")];
      panel.replaceChildren(el("div", { class: "bar" }, title, close), ...body.filter(Boolean));
      panel.scrollTop = scrolled;
    });
  }

  // --- what people do ---

  const filter = $("filter");
  filter.addEventListener("input", () => replace({ filter: filter.value || null }));
  filter.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "Enter") { const first = table.rows[0]; if (first) { event.preventDefault(); table.focus(first.name, 0); } }
  });
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("copy").addEventListener("click", async () => {
    try { await navigator.clipboard.writeText($("first-call").textContent); $("copy").textContent = "Copied"; }
    catch { getSelection().selectAllChildren($("first-call")); }
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const typing = event.target === filter, at = address();
    if (event.key === "Escape") {
      if (typing && filter.value) { filter.value = ""; replace({ filter: null }); }
      else if (typing) filter.blur();
      else if (at.get("call") && at.get("tool")) go({ call: null });
      else if (at.get("tool") || at.get("call")) { const name = at.get("tool"); go({ tool: null, call: null }); const place = table.rows.findIndex((row) => row.name === name); if (place >= 0) table.focus(name, place); }
      else if (at.get("zoom")) go({ zoom: null });
    } else if (!typing && event.key === "/") { event.preventDefault(); filter.focus(); filter.select(); }
    else if (!typing && event.key === "?") $("help").showModal();
    else if (!typing && "1234".includes(event.key)) replace({ weight: WEIGHTS[Number(event.key) - 1] });
    else if (!typing && event.key === "ArrowDown" && document.activeElement === document.body && table.rows.length) { event.preventDefault(); table.focus(table.rows[0].name, 0); }
  });
  addEventListener("hashchange", () => { filter.value = address().get("filter") || ""; fetchDetail(false); draw(); });
  new ResizeObserver((entries) => {
    const width = Math.floor(entries[0].contentRect.width);
    if (width && width !== flameWidth) { flameWidth = width; requestAnimationFrame(draw); }
  }).observe($("flame"));
  addEventListener("resize", () => { cancelAnimationFrame(draw.frame); draw.frame = requestAnimationFrame(draw); });
  setInterval(() => { if (!document.hidden && !inside) for (const node of document.querySelectorAll("time[data-at]")) node.textContent = twm.ago(Number(node.getAttribute("data-at")), now()); }, 5000);

  filter.value = address().get("filter") || "";
  if (inside) {
    $("download").hidden = true;
    take(inside);
    fetchDetail(false);
    draw();
  } else {
    poll();
    fetchDetail(false);
  }
})((window.twm = window.twm || {}));
