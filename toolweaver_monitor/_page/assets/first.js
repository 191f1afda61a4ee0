// What one look answers: is all well, what is slow, what does it cost, what runs.
(function (twm) {
  "use strict";
  const { el } = twm;

  function tile(title, big, small, tone, exact) {
    return el("div", { class: "tile" }, el("h2", {}, title), el("p", { class: "big " + tone, title: exact }, big), el("p", { class: "small" }, small));
  }

  const FEW = 3, MOST = 100;
  let budgetsOpen = false; // a tile is made anew with each figure

  function budgetTile(budgets, hourly, shown) {
    const spendable = budgets.filter((one) => one.unit !== "repeats");
    if (!spendable.length) return tile("Budget", twm.NONE, "no limit is set", "dim", "setup(budget=5.00) sets one");
    const amount = (value, unit) => (unit === "usd" ? twm.dollars(value) : `${twm.count(value)} ${unit}`);
    const ranked = [...spendable].sort((a, b) => b.rejections - a.rejections || a.remaining / (a.limit || 1) - b.remaining / (b.limit || 1));
    const lines = ranked.slice(0, budgetsOpen ? MOST : FEW).map((one) => {
      const used = one.limit ? Math.min(1, (one.limit - one.remaining) / one.limit) : 1;
      const tone = one.remaining <= 0 || one.rejections ? "bad" : used >= 0.8 ? "warn" : "";
      const bar = twm.svg("svg", { class: "gauge " + tone, viewBox: "0 0 180 6", width: 180, height: 6, preserveAspectRatio: "none", "aria-hidden": "true" }, twm.svg("rect", { class: "under", width: 180, height: 6, rx: 2 }), twm.svg("rect", { class: "bar", width: 180 * used, height: 6, rx: 2 }));
      let when = "";
      if (one.rejections) when = `✕ ${twm.count(one.rejections)} rejected`;
      else if (one.frees_at) when = `room again in ${twm.span(one.frees_at - shown.now)}`;
      else if (one.remaining <= 0) when = "! used up";
      else if (one.unit === "usd" && hourly > 0 && one.remaining / hourly < 48) when = `gone in ${twm.span((one.remaining / hourly) * 3600)}`;
      const name = one.account === null ? one.name : `${one.account}: ${one.budget}`; // what is cut off is the end
      return el("div", { class: "budget", title: `${one.name}: ${twm.exact(one.spent)} spent of ${twm.exact(one.limit)} ${one.unit}` }, el("p", { class: tone }, `${amount(one.remaining, one.unit)} left of ${amount(one.limit, one.unit)}`), bar, el("p", { class: "small" }, el("span", { class: "cut" }, `${name}, per ${one.per}`), when ? ` · ${when}` : ""));
    });
    const toggle = () => {
      budgetsOpen = !budgetsOpen;
      made.replaceWith(budgetTile(budgets, hourly, shown));
      document.getElementById("more-budgets").focus({ preventScroll: budgetsOpen }); // they begin above the button
    };
    const more = ranked.length > FEW ? el("button", { id: "more-budgets", class: "more", type: "button", "aria-expanded": String(budgetsOpen), onclick: toggle }, budgetsOpen ? "show fewer" : `and ${twm.count(ranked.length - FEW)} more`) : null;
    const rest = budgetsOpen && ranked.length > MOST ? el("p", { class: "small" }, `${twm.count(ranked.length - MOST)} more are in health()`) : null;
    const made = el("div", { class: budgetsOpen ? "tile all" : "tile" }, el("h2", {}, "Budget"), el("div", { class: "budgets" }, lines), rest, more);
    return made;
  }

  function activeTile(active, shown) {
    const calls = active.reduce((sum, row) => sum + row[1], 0);
    const rows = active.slice(0, 4).map(([name, count, since]) => el("tr", {}, el("th", { scope: "row", class: "left", title: name }, el("span", { class: "dot " + twm.hue(name) }), el("span", { class: "name" }, name)), el("td", { class: "num" }, twm.count(count)), el("td", { class: "num dim", title: "the oldest has run so long" }, twm.span(shown.now - since))));
    return el("div", { class: "tile active" }, el("h2", {}, "Running now"), calls ? el("p", { class: "small" }, twm.plural(calls, "call")) : el("p", { class: "big dim" }, "0"),
      rows.length ? el("table", {}, el("tbody", {}, rows)) : el("p", { class: "small" }, "nothing runs"), active.length > 4 ? el("p", { class: "small" }, `and ${active.length - 4} more tools`) : null);
  }

  function tiles(data, shown) {
    const { total, active, budgets } = data, times = data.over, from = shown.from;
    const covered = Math.max(60, Math.min(shown.periods * shown.periodS, shown.now - from));
    const spent = times.reduce((sum, period) => sum + period[3], 0), recent = times.reduce((sum, period) => sum + period[1], 0);
    const hourly = (spent / covered) * 3600, rate = total.rated ? total.failed / total.rated : null;
    const during = recent === total.calls ? `in ${twm.span(shown.now - from)}` : `${twm.count(recent)} in the last ${twm.span(covered)}`;
    const unfinished = total.calls - total.rated - total.rejected;
    const unrated = [[total.rejected, "rejected"], [unfinished, "unfinished"]].map(([calls, how]) => (calls ? `${twm.count(calls)} ${how} · ` : "")).join("");
    const unpriced = total.unpriced ? [" · ", el("span", { class: "warn" }, `! ${twm.count(total.unpriced)} unpriced`)] : null;
    const money = hourly ? `${twm.dollars(hourly)} an hour` : total.cost === null ? "no call has a known cost" : `nothing in the last ${twm.span(covered)}`;
    return [
      tile("Calls", twm.count(total.calls), unrated + during, "", twm.exact(total.calls, "calls")),
      tile("Failed", total.failed ? "✕ " + twm.count(total.failed) : "0", rate === null ? "of no call yet" : `${twm.percent(rate)} of ${twm.plural(total.rated, "call")}`, total.failed ? "bad" : "", twm.exact(total.failed, "failed or timed out")),
      tile("Money", twm.dollars(total.cost), [money, unpriced], "", twm.exact(total.cost, "dollars")),
      ...(twm.saved && shown.stored ? [] : [budgetTile(budgets, hourly, shown), activeTile(active, shown)]), // a store's file holds neither
    ];
  }

  // --- over time ---

  const UNITS = [[60, "a minute"], [3600, "an hour"], [86400, "a day"]];

  // One value for each period; the last one has not ended, so it counts once half of it has passed.
  function series(periods, shown, of, empty) {
    const first = shown.period - shown.periods + 1, before = Math.floor(shown.from / shown.periodS) - first;
    const values = Array.from({ length: shown.periods }, (_, at) => (at < before ? null : empty)); // it did not run yet
    for (const period of periods) {
      const at = period[0] - first;
      if (at >= 0 && at < values.length) values[at] = of(period, 1);
    }
    const passed = shown.now / shown.periodS - shown.period, last = periods[periods.length - 1];
    if (twm.saved || !last) return values;
    if (passed < 0.5 && values.length > 1 && values.slice(0, -1).some((value) => value)) values[values.length - 1] = null;
    else if (last[0] === shown.period) values[values.length - 1] = of(last, Math.max(passed, 0.1));
    return values;
  }

  function table(title, heads, lines, shown) {
    const rows = lines[0][1].map((_, at) => at).filter((at) => lines.some((line) => line[1][at]));
    return el("div", { class: "unseen" }, el("table", {}, el("caption", {}, title), el("thead", {}, el("tr", {}, ["period", ...lines.map((line) => line[0])].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, rows.map((at) => el("tr", {}, el("th", { scope: "row" }, twm.clock((shown.period - shown.periods + 1 + at) * shown.periodS)), lines.map((line) => el("td", {}, line[1][at] === null ? twm.NONE : heads(line[1][at]))))))));
  }

  function chart(title, lines, shownAs, log, shown, width) {
    const options = { width, height: 118, periods: shown.periods, periodS: shown.periodS, first: shown.period - shown.periods + 1, shown: shownAs, log, label: title + "; the table after it has the same" };
    return el("figure", {}, el("figcaption", {}, title), twm.lines(lines, options), table(title, shownAs, lines, shown));
  }

  function charts(data, shown, rows, width) {
    const [unitS, unit] = UNITS.find((each) => each[0] >= shown.periodS) || UNITS[2], times = data.over;
    const per = (value, part) => (value / part) * (unitS / shown.periodS);
    const hasMoney = times.some((period) => period[3]), across = width > 680 ? (hasMoney ? 3 : 2) : 1;
    const wide = Math.floor((width - 32 * (across - 1)) / across);
    let calls = [["calls", series(times, shown, (period, part) => per(period[1], part), 0), "all"]];
    if (times.some((period) => period[2])) calls.push(["failed", series(times, shown, (period, part) => per(period[2], part), 0), "failing"]);
    if (shown.by !== "tool" && rows.length > 1) {
      calls = rows.slice(0, 4).map((row) => [shown.by === "run" ? row.name.replace(/^.*, /, "") : row.name, series(row.history, shown, (period, part) => per(period[1], part), 0), "own " + twm.hue(row.name, shown.by)]);
    }
    const latency = ["p50", "p95", "p99"].map((name, at) => [name, series(times, shown, (period) => period[4 + at], null), name]);
    const made = [
      chart(`Calls ${unit}` + (shown.by !== "tool" && rows.length > 1 ? ` by ${shown.noun}` : ""), calls, twm.count, false, shown, wide),
      chart("Latency of all calls, logarithmic", latency, twm.seconds, true, shown, wide),
    ];
    if (hasMoney) made.push(chart(`Money ${unit}`, [["cost", series(times, shown, (period, part) => per(period[3], part), 0), "all"]], twm.dollars, false, shown, wide));
    return made;
  }

  Object.assign(twm, { tiles, charts });
})((window.twm = window.twm || {}));
