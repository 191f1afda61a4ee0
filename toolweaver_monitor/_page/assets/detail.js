// What opens beside the table: one tool, or the trace of one call.
(function (twm) {
  "use strict";
  const { el } = twm;

  function facts(pairs) {
    return el("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, text, title]) => [el("dt", {}, name), el("dd", { title }, text)]));
  }

  function tokens(used) {
    const unsplit = used.tokens - used.input_tokens - used.output_tokens; // given as one number
    if (unsplit === used.tokens) return used.tokens ? twm.count(used.tokens) : twm.NONE;
    return `${twm.count(used.tokens)} (${twm.count(used.input_tokens)} in, ${twm.count(used.output_tokens)} out, ${twm.count(used.cached_tokens)} cached${unsplit ? `, ${twm.count(unsplit)} unsplit` : ""})`;
  }

  function callTable(title, calls, view, note) {
    if (!calls.length) return el("section", {}, el("h3", {}, title), el("p", { class: "dim" }, note));
    const rows = calls.map((call) => el("tr", {},
      el("td", { class: "left" }, el("a", { href: view.link({ call: call.id }) }, twm.moment(call.at, view.now))),
      el("td", { class: "num", title: twm.exact(call.duration, "s") }, twm.seconds(call.duration)),
      el("td", { class: "num", title: twm.exact(call.cost, "dollars") }, twm.dollars(call.cost)),
      el("td", { class: "left text" }, call.error_type ? el("span", { class: "kind" }, "✕ " + call.error_type) : call.outcome === "success" ? "" : call.outcome, call.error ? el("span", { class: "clamp", title: call.error }, " " + call.error) : null)));
    return el("section", {}, el("h3", {}, title), el("table", { class: "calls" },
      el("thead", {}, el("tr", {}, ["ended", "took", "cost", "how it ended"].map((name, at) => el("th", { scope: "col", class: at === 1 || at === 2 ? "num" : "left" }, name)))), el("tbody", {}, rows)));
  }

  function tool(row, detail, view, width) {
    const usage = (title, noun, rows) => rows && rows.length ? el("section", {}, el("h3", {}, title), el("table", { class: "calls" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "left" }, noun), ["calls", "tokens", "cost", "unpriced"].map((name) => el("th", { scope: "col", class: "num" }, name)))),
      el("tbody", {}, rows.map((each) => el("tr", {}, el("th", { scope: "row", class: "left" }, each.name), [twm.count(each.calls), each.tokens ? twm.count(each.tokens) : twm.NONE, twm.dollars(each.cost), twm.count(each.unpriced)].map((text) => el("td", { class: "num" }, text))))))) : null;
    const run = view.by === "run" ? /run (\d+)$/.exec(row.name) : null;
    const outcomes = Object.entries(row.outcomes).map(([name, count]) => `${twm.count(count)} ${name}`).join(", ");
    return [
      facts([
        ["calls", twm.count(row.calls), outcomes],
        outcomes ? ["outcomes", outcomes] : null, // a group may have none of the calls that are kept
        ["p50, p95, p99", [row.p50, row.p95, row.p99].map(twm.seconds).join(", ")],
        ["average", twm.seconds(row.average), twm.exact(row.average, "s")],
        ["cost", twm.dollars(row.cost), twm.exact(row.cost, "dollars")],
        row.cost !== null && row.costed ? ["cost of a call", twm.dollars(row.cost / row.costed), `of the ${twm.plural(row.costed, "call")} whose cost is known`] : null,
        ["tokens", tokens(row)],
        row.retries ? ["retries", twm.count(row.retries)] : null,
        row.unpriced ? ["unpriced", `${twm.plural(row.unpriced, "call")} of unknown cost`] : null,
        row.cache_hits ? ["from your cache", twm.count(row.cache_hits)] : null,
      ]),
      run ? el("p", {}, el("a", { href: view.link({ period: "run-" + run[1], by: null, tool: null }) }, "Show this run by itself")) : null,
      detail ? el("section", {}, el("h3", {}, "Latency over time"), twm.strip(detail.strip, Math.floor(view.now / detail.period_s) - view.periods + 1, view.periods, detail.period_s, width)) : el("p", { class: "dim" }, view.missing),
      detail ? callTable("Slowest calls", detail.slowest, view, "No call is kept.") : null,
      detail ? callTable("Failed calls", detail.failed, view, "None of the calls that are kept has failed.") : null,
      detail ? usage("By model", "model", detail.models) : null,
      detail ? usage("By tool", "tool", detail.tools) : null,
      detail ? el("p", { class: "dim" }, `Single calls, models and tools: of ${detail.among}.`) : null,
    ];
  }

  function trace(found, view, width) {
    if (!found) return [el("p", {}, view.missing)];
    const call = found.calls.find((each) => each.id === found.chosen) || found.calls[0];
    const fields = [
      ["tool", call.tool], ["ended", `${twm.clock(call.at)}, ${call.outcome}`], ["took", twm.seconds(call.duration), twm.exact(call.duration, "s")],
      call.error_type || call.error ? ["error", [call.error_type, call.error].filter(Boolean).join(": ")] : null,
      ["cost", call.cost === null ? "unknown, or none" : `${twm.dollars(call.cost)} (${call.cost_source})`, twm.exact(call.cost, "dollars")],
      call.tokens ? ["tokens", tokens(call)] : null,
      call.model ? ["model", [call.model, call.provider].filter(Boolean).join(", ")] : null,
      call.attempt > 1 ? ["attempt", String(call.attempt)] : null,
      call.cached ? ["cached", "yes, by your own cache"] : null,
      call.first_item !== null ? ["first item after", twm.seconds(call.first_item)] : null,
      call.items !== null ? ["items", twm.count(call.items)] : null,
      ...Object.entries(call.more).map(([name, value]) => [name.replace(/_/g, " "), typeof value === "object" ? JSON.stringify(value) : String(value)]),
      ...Object.entries(call.tags).map(([name, value]) => ["tag " + name, String(value)]),
      call.arguments !== null ? ["arguments", call.arguments] : null,
      call.result !== null ? ["result", call.result] : null,
      ["call id", call.id], ["trace id", call.trace_id],
    ];
    return [
      facts(fields),
      el("section", {}, el("h3", {}, "Its trace"), twm.waterfall(found.calls, found.chosen, width),
        found.left_out ? el("p", { class: "dim" }, `${twm.plural(found.left_out, "call")} more are not drawn.`) : null),
      el("details", {}, el("summary", {}, "The same as a table"), el("table", { class: "calls" },
        el("thead", {}, el("tr", {}, ["tool", "took", "tokens", "cost", "how it ended"].map((name) => el("th", { scope: "col", class: "left" }, name)))),
        el("tbody", {}, found.calls.map((each) => el("tr", {}, el("th", { scope: "row", class: "left" }, el("a", { href: view.link({ call: each.id }) }, each.tool)), [twm.seconds(each.duration), each.tokens ? twm.count(each.tokens) : twm.NONE, twm.dollars(each.cost) + (each.cost_source ? " " + each.cost_source : ""), each.error_type || each.outcome].map((text) => el("td", { class: "left" }, text))))))),
    ];
  }

  Object.assign(twm, { detailOfTool: tool, detailOfTrace: trace });
})((window.twm = window.twm || {}));
