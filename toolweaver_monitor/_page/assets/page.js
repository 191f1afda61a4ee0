// The page as a whole: its address, its figures, and when they are asked for.
(function (twm) {
  "use strict";
  const { el } = twm;
  const $ = (id) => document.getElementById(id);
  const EVERY_MS = 1000, PATIENT_MS = 5000, PERIODS = 60;
  let periodS = 15; // seconds of one bar in a trend; longer in the file of a store
  const WEIGHTS = ["cost", "time", "calls", "tokens"];

  const NAMES = ["about", "total", "active", "budgets", "errors", "latest", "unpriced", "tree", "problems", "facets", "stored", "groups"];
  const data = { tools: new Map(), over: [], about: {}, total: null, active: [], budgets: [], errors: [], latest: [], unpriced: [], tree: null, problems: [], facets: [], stored: null, groups: null };
  const inside = $("figures") ? JSON.parse($("figures").textContent) : null; // one file with its figures, and no program behind it
  let flameWidth = 0; // to ask the browser again costs a layout of the page
  let cursor = "", asked = "", skew = 0, answered = 0, failing = "", loading = false, timer = 0, details = new Map();

  twm.saved = Boolean(inside); // times are absolute then: nobody knows when it is read

  // What is not known any more is not drawn: without an answer the time stands still.
  const now = () => (twm.saved ? data.at : (failing && answered ? answered : Date.now()) / 1000 + skew);
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

  function merged(earlier, newer, oldest) {
    // Periods that are sent again replace what was there.
    const first = newer.length ? newer[0][0] : Infinity;
    return [...earlier.filter((period) => period[0] < first && period[0] >= oldest), ...newer];
  }

  function take(answer) {
    if (answer.full) {
      data.tools.clear();
      Object.assign(data, { over: [], stored: null, groups: null });
      periodS = 15;
    }
    cursor = answer.v;
    periodS = answer.period_s || periodS;
    skew = answer.now - Date.now() / 1000;
    for (const name of NAMES) if (name in answer) data[name] = answer[name];
    twm.saved = Boolean(inside || data.about.saved); // a store whose programs have ended stands still, too
    data.at = answer.now;
    const oldest = Math.floor(answer.now / periodS) - PERIODS, heavy = [...answer.tools].sort((a, b) => b.cost - a.cost || b.calls - a.calls).slice(0, 8);
    for (const name of heavy.map((row) => row.name).sort()) twm.hue(name, data.groups ? data.groups.by : "tool"); // the same after a reload
    if (answer.over_time) data.over = merged(data.over, answer.over_time, oldest);
    for (const row of answer.tools) {
      const earlier = data.tools.get(row.name);
      if (earlier) row.history = merged(earlier.history, row.history, oldest);
      data.tools.set(row.name, row);
    }
    return answer.tools.map((row) => row.name);
  }

  // Of which period, and what the rows are: a part of every question.
  function chosen() {
    const at = address(), by = at.get("by") || "tool", period = at.get("period") || "";
    return `period=${encodeURIComponent(period)}&by=${encodeURIComponent(by)}`;
  }

  async function ask(path, given) {
    const answer = await fetch(path, { cache: "no-store", ...given });
    if (answer.status === 304) return null;
    if (answer.status === 404) return { missing: true };
    if (!answer.ok) throw new Error(answer.status === 401 ? "the token is not accepted" : "answer " + answer.status);
    return answer.json();
  }

  async function poll() {
    let wait = EVERY_MS;
    clearTimeout(timer);
    const question = chosen();
    if (question !== asked) { cursor = ""; asked = question; loading = data.total !== null; }
    try {
      const answer = await ask(`data.json?since=${encodeURIComponent(cursor)}&${question}`, { headers: cursor ? { "If-None-Match": `"${cursor}"` } : {} });
      if (question !== chosen()) return poll();
      if (answer && answer.problem) throw new Error(answer.problem);
      if (answer && answer.pending) { wait = 150; loading = true; }
      else {
        if (answer && take(answer).includes(address().get("tool"))) fetchDetail(true);
        loading = false;
      }
      failing = "";
      answered = Date.now();
    } catch (error) {
      failing = error instanceof TypeError || error.name === "SyntaxError" ? "no answer" : error.message;
      wait = PATIENT_MS;
      cursor = "";
    }
    draw();
    if (document.hidden) document.addEventListener("visibilitychange", poll, { once: true });
    else timer = setTimeout(poll, wait);
  }

  const detailKey = (call, tool) => `${chosen()} ${call ? "call " + call : "row " + tool}`;

  async function fetchDetail(again) {
    const at = address(), call = at.get("call"), tool = at.get("tool");
    if (!call && !tool) return;
    const key = detailKey(call, tool);
    if (inside) {
      const found = call ? inside.traces[call] : inside.details[tool];
      details.set(key, found && found.of ? { ...inside.traces[found.of], chosen: call } : found || null);
      return drawDetail();
    }
    if (call && details.get(key) && again) return;
    try {
      const found = await ask((call ? "trace.json?id=" + encodeURIComponent(call) : "row.json?name=" + encodeURIComponent(tool)) + "&" + chosen());
      if (found.pending) return void setTimeout(() => fetchDetail(again), 200);
      details.set(key, found.missing || found.problem ? null : found);
      if (details.size > 50) details = new Map([...details].slice(-20));
    } catch { /* the next poll says so */ }
    drawDetail();
  }

  // --- drawing ---

  const runOf = (period) => (/^run-(\d+)$/.exec(period || "") || [])[1];

  function nounOf(by) {
    return by === "run" ? "program" : by.replace(/^tag:/, "");
  }

  function view() {
    // A young program fills the width: its figures start where it started.
    const period = Math.floor(now() / periodS), by = data.groups ? data.groups.by : "tool";
    const from = data.stored ? data.stored.since : data.about.since || 0, old = period - Math.floor(from / periodS) + 1;
    return { now: now(), from, period, periodS, periods: Math.max(12, Math.min(PERIODS, old)), cost: data.total ? data.total.cost : null, by, noun: nounOf(by), stored: data.stored, link,
      missing: inside ? "This is not in the file." : data.about.store ? "It is neither in memory nor among the latest calls of the store." : "The program keeps its latest calls only; this is no longer among them." };
  }

  function draw() {
    const shown = view(), at = address();
    drawBar(shown);
    const empty = data.total !== null && data.total.calls === 0 && !data.stored;
    $("empty").hidden = !empty || data.active.length > 0;
    $("loading").hidden = data.total !== null || Boolean(failing);
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
    const all = twm.plural(data.tools.size, shown.noun), groups = data.groups || {};
    $("tools-title").textContent = shown.by === "tool" ? "Tools" : "By " + shown.noun;
    $("tools-note").textContent = [table.filter ? `${twm.count(matching)} of ${all} match "${table.filter}"` : all,
      groups.left_out ? `${twm.count(groups.left_out)} cheaper ones are not shown` : "",
      groups.of ? `times and trend are of the last ${twm.count(groups.of)} calls` : ""].filter(Boolean).join("; ");
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

  const PERIOD_NAMES = [["", ""], ["3600", "last hour"], ["86400", "last 24 hours"], ["604800", "last 7 days"], ["all", "all in the store"]];

  function drawChoices(shown) {
    once("choices", [data.facets, data.about.store, chosen()], () => {
      const at = address(), by = at.get("by") || "tool";
      const option = (value, name, now) => el("option", { value, selected: value === now }, name);
      const own = data.about.pid ? "since its start" : "as asked for"; // of a program, or of a store alone
      const periods = (data.about.store ? PERIOD_NAMES : PERIOD_NAMES.slice(0, 1)).map(([value, name]) => [value, name || own]), run = runOf(at.get("period"));
      if (run) periods.push([at.get("period"), `run ${run} by itself`]);
      $("period").replaceChildren(...periods.map(([value, name]) => option(value, name, at.get("period") || "")),
        ...(data.about.store ? [] : [el("option", { disabled: true }, 'setup("sqlite") keeps history')]));
      const facets = data.facets.includes(by) ? data.facets : [...data.facets, by];
      $("by").replaceChildren(...facets.map((facet) => option(facet, "by " + nounOf(facet), by)));
    });
  }

  function aboutOf(shown) {
    const { about, stored } = data;
    if (stored) return [twm.plural(stored.runs, "run") + (about.store && about.store !== about.name ? " in " + about.store : ""), `since ${twm.clock(stored.since)}`];
    if (!about.since) return [];
    const pid = about.pid ? (about.is_joined ? "this worker, pid " : "pid ") + about.pid : "";
    if (inside) return [`figures of ${twm.clock(inside.now)}`, pid];
    return [`${about.closed ? "monitored" : "running"} ${twm.span(shown.now - about.since)}`, pid];
  }

  function stateOf(shown) {
    if (failing && failing !== "no answer") return ["✕ " + failing, "bad"];
    if (failing) return [answered ? `✕ no answer since ${twm.time(answered / 1000)}; these are the last figures` : "✕ no answer. Trying again.", "bad"];
    if (inside) return ["saved page", ""];
    if (loading) return ["reading the store …", ""];
    if (data.about.closed && data.about.saved) return ["its programs have ended", ""];
    if (data.about.closed) return ["the program has ended; these are its last figures", "warn"];
    if (data.active.length) return ["● running", ""];
    const last = lastPeriod();
    if (last && shown.now - last > 90) return [`quiet: no call for ${twm.span(shown.now - last)}`, ""];
    return [data.total ? "● live" : "", ""];
  }

  function drawBar(shown) {
    const { about } = data;
    if (about.name) {
      document.title = about.name + " · tools";
      $("program").textContent = about.name;
      $("about").textContent = aboutOf(shown).filter(Boolean).join(" · ");
      $("about").title = about.since ? "since " + twm.clock(about.since) + (about.host ? " on " + about.host : "") : $("about").textContent;
    }
    drawChoices(shown);
    const [words, tone] = stateOf(shown);
    if ($("state").textContent !== words) $("state").textContent = words; // or a screen reader says it each second
    $("about").hidden = Boolean(failing); // room for what is wrong
    $("state").title = words;
    $("state").className = tone;
    document.body.classList.toggle("off", Boolean(failing) || loading);
  }

  function lastPeriod() {
    const last = data.over.length ? data.over[data.over.length - 1][0] : 0;
    return last ? (last + 1) * periodS : 0;
  }

  function drawProblems() {
    once("problems", [data.problems], () => {
      $("problems").hidden = !data.problems.length;
      $("problems").replaceChildren(...data.problems.map((text) => el("li", {}, "! " + text)));
    });
  }

  function drawFirst(shown) {
    const { total, active, budgets, over } = data;
    once("first", [total, active, budgets, over, shown.period, failing ? 0 : active.length || budgets.some((one) => one.frees_at) ? Math.floor(shown.now) : 0], () => {
      const focused = document.activeElement.id === "more-budgets";
      $("first").replaceChildren(...twm.tiles(data, shown));
      if (focused && $("more-budgets")) $("more-budgets").focus({ preventScroll: true });
    });
    flameWidth = flameWidth || $("flame").clientWidth;
    once("charts", [over, total, shown.by, shown.period, flameWidth], () => {
      const rows = shown.by === "tool" ? [] : [...data.tools.values()].sort((a, b) => b.calls - a.calls);
      if (flameWidth) $("charts").replaceChildren(...twm.charts(data, shown, rows, flameWidth));
    });
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
      $("latest-body").replaceChildren(el("table", { class: "calls" }, head([["ended", "left"], ["tool", "left"], ["error", "left"]]), el("tbody", {}, data.latest.slice(0, 10).map((error) => el("tr", {}, el("td", { class: "left" }, el("a", { href: link({ tool: error.tool, call: error.id }) }, twm.moment(error.at, shown.now))), el("td", { class: "left text own" }, error.tool), el("td", { class: "left text", title: error.text }, el("div", { class: "clamp" }, el("span", { class: "kind" }, error.type || error.outcome), error.text ? " " + error.text : "")))))));
      $("unpriced").hidden = !data.unpriced.length;
      $("unpriced-body").replaceChildren(el("table", { class: "calls" }, head([["tool", "left"], ["model", "left"], ["calls", "num"]]), el("tbody", {}, data.unpriced.slice(0, 20).map(([tool, model, calls]) => el("tr", {}, el("th", { scope: "row", class: "left text" }, tool), el("td", { class: "left text" }, model === null ? twm.NONE : model || "no model was named"), el("td", { class: "num warn" }, "! " + twm.count(calls)))))), el("p", { class: "dim" }, "Their cost is not in any figure above. Name the price of a model in setup(prices=...), or what a call cost in record(cost=...)."));
    });
  }

  function drawDetail() {
    const at = address(), call = at.get("call"), tool = at.get("tool"), panel = $("detail");
    const open = Boolean(call || tool);
    document.body.classList.toggle("open", open);
    if (!open) { panel.hidden = true; once.detail = null; return; }
    const shown = view(), key = detailKey(call, tool), row = data.tools.get(tool), found = details.get(key);
    panel.hidden = false;
    const width = Math.max(240, panel.clientWidth - 32);
    once("detail", [key, row, found, width, found === undefined ? 0 : shown.period], () => {
      const scrolled = panel.scrollTop;
      const close = el("a", { class: "button", href: link({ tool: call ? tool : null, call: null }), "aria-label": call && tool ? "Back to " + tool : "Close" }, call && tool ? "‹ back" : "✕ close");
      const title = el("h2", { tabindex: -1 }, el("span", { class: "dot " + twm.hue(tool || "", shown.by) }), el("span", { class: "name" }, call ? (tool ? tool + ": one call" : "one call") : tool));
      const body = found === undefined ? [el("p", { class: "dim" }, "…")] : call ? twm.detailOfTrace(found, shown, width) : row ? twm.detailOfTool(row, found, shown, width) : [el("p", {}, `There is no such ${shown.noun}.`)];
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
  $("period").addEventListener("change", () => go({ period: $("period").value || null }));
  $("by").addEventListener("change", () => go({ by: $("by").value === "tool" ? null : $("by").value, tool: null, call: null, filter: null }));
  addEventListener("hashchange", () => {
    filter.value = address().get("filter") || "";
    if (!inside && chosen() !== asked) poll();
    fetchDetail(false);
    draw();
  });
  new ResizeObserver((entries) => {
    const width = Math.floor(entries[0].contentRect.width);
    if (width && width !== flameWidth) { flameWidth = width; requestAnimationFrame(draw); }
  }).observe($("flame"));
  addEventListener("resize", () => { cancelAnimationFrame(draw.frame); draw.frame = requestAnimationFrame(draw); });
  setInterval(() => { if (!document.hidden && !inside) for (const node of document.querySelectorAll("time[data-at]")) node.textContent = twm.ago(Number(node.getAttribute("data-at")), now()); }, 5000);

  filter.value = address().get("filter") || "";
  if (inside) {
    for (const live of ["download", "period", "by"]) $(live).hidden = true;
    take(inside);
    fetchDetail(false);
    draw();
  } else {
    poll();
    fetchDetail(false);
  }
})((window.twm = window.twm || {}));
