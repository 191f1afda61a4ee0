// The figures, as SVG: a line, bars, a heat strip, a flame graph, a waterfall.
(function (twm) {
  "use strict";
  const { el, svg } = twm;

  // A small area of calls with a red foot where some failed. `values`: [calls, failed] for each period, or null.
  function spark(values, width, height, label) {
    const most = Math.max(1, ...values.map((value) => (value ? value[0] : 0)));
    const step = width / values.length;
    const figure = svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, preserveAspectRatio: "none", role: "img", "aria-label": label });
    values.forEach((value, at) => {
      if (!value || !value[0]) return;
      const tall = Math.max(1, (value[0] / most) * (height - 3));
      figure.append(svg("rect", { class: "bar", x: at * step, y: height - 2 - tall, width: Math.max(0.8, step - 0.5), height: tall }));
      if (value[1]) figure.append(svg("rect", { class: "bad", x: at * step, y: height - 2, width: Math.max(0.8, step - 0.5), height: 2 }));
    });
    figure.append(svg("line", { class: "axis", x1: 0, x2: width, y1: height - 0.5, y2: height - 0.5 }));
    return figure;
  }

  // The times below a figure, from the first period to the end of the last one.
  function timeAxis(figure, left, right, y, periods, periodS) {
    const whole = periods * periodS;
    for (const share of right - left > 260 ? [0, 0.5, 1] : [0, 1]) {
      const text = share === 1 ? (twm.saved ? "end" : "now") : "−" + twm.span((1 - share) * whole);
      figure.append(svg("text", { class: "tick" + (share === 1 ? " end" : share ? " middle" : ""), x: left + share * (right - left), y }, text));
    }
  }

  function roundUp(value) {
    const unit = Math.pow(10, Math.floor(Math.log10(value)));
    return [1, 2, 5, 10].map((step) => step * unit).find((round) => round >= value * 0.999999);
  }

  // What lies how high: from 0 on, or from the least to the most by powers.
  function scale(values, log, top, bottom) {
    const most = Math.max(...values, log ? 1e-9 : 0);
    if (!log) {
      const end = roundUp(most || 1);
      return { y: (value) => bottom - (value / end) * (bottom - top), ticks: [0, end / 2, end] };
    }
    const low = Math.log10(Math.min(...values.filter((value) => value > 0))), high = Math.log10(most);
    const pad = Math.max(0.15, (0.9 - (high - low)) / 2), from = low - pad, to = high + pad;
    const all = [];
    for (let power = Math.floor(from); power <= to; power++) for (const round of [1, 3]) all.push(round * Math.pow(10, power));
    const inside = all.filter((tick) => Math.log10(tick) >= from && Math.log10(tick) <= to);
    const ticks = inside.length > 4 ? inside.filter((tick) => !String(tick).includes("3") && tick.toExponential()[0] === "1") : inside;
    return { y: (value) => bottom - ((Math.log10(Math.max(value, 1e-9)) - from) / (to - from)) * (bottom - top), ticks };
  }

  // Lines over time, each with its name at its end. `lines`: [name, values, class]; null is a gap.
  function lines(lines, options) {
    const { width, height, periods, periodS, shown, log, label } = options, tickText = log ? twm.rough : shown;
    const known = lines.flatMap((line) => line[1].filter((value) => value !== null));
    if (!known.length) return el("p", { class: "dim none" }, "No call in this time.");
    const names = Math.min(96, 12 + 6.6 * Math.max(...lines.map((line) => line[0].length)));
    const left = 52, right = width - names, top = 8, bottom = height - 20, step = (right - left) / Math.max(1, periods - 1);
    const figure = svg("svg", { class: "lines", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
    const { y, ticks } = scale(known, log, top, bottom);
    for (const tick of ticks) {
      figure.append(svg("line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) }));
      figure.append(svg("text", { class: "tick end", x: left - 6, y: y(tick) + 4 }, tickText(tick)));
    }
    const ends = [];
    for (const [name, values, tone] of lines) {
      let path = "", last = null;
      values.forEach((value, at) => {
        if (value === null) { last = null; return; }
        const place = `${(left + at * step).toFixed(1)} ${y(value).toFixed(1)}`;
        if (last === null && (at + 1 === values.length || values[at + 1] === null)) figure.append(svg("circle", { class: "point " + tone, cx: (left + at * step).toFixed(1), cy: y(value).toFixed(1), r: 2.5 }));
        else path += last === null ? `M${place}` : `L${place}`;
        last = value;
      });
      figure.append(svg("path", { class: "line " + tone, d: path }));
      const at = values.findLastIndex((value) => value !== null);
      if (at >= 0) ends.push([name, y(values[at]) + 4, tone]);
    }
    ends.reverse().sort((a, b) => a[1] - b[1]).reduce((above, end) => (end[1] = Math.max(end[1], above + 12)), -Infinity);
    for (let at = ends.length - 1, below = bottom + 4; at >= 0; at--) below = (ends[at][1] = Math.min(ends[at][1], below)) - 12;
    for (const [name, at, tone] of ends) figure.append(svg("text", { class: "name-of " + tone, x: right + 6, y: at }, name.length > 13 ? name.slice(0, 12) + "…" : name));
    for (let at = 0; at < periods; at++) {
      const told = lines.filter((line) => line[1][at] !== null && line[1][at] !== undefined).map((line) => `${line[0]} ${shown(line[1][at])}`);
      if (told.length) figure.append(svg("rect", { class: "over", x: left + (at - 0.5) * step, y: 0, width: step, height: bottom }, svg("title", {}, `${twm.clock((options.first + at) * periodS)}: ${told.join(", ")}`)));
    }
    timeAxis(figure, left, right, height - 4, periods, periodS);
    return figure;
  }

  // Latency over time: time to the right, duration upwards by half octaves (log), darker for more calls.
  function strip(cells, first, periods, periodS, width) {
    if (!cells.length) return el("p", { class: "dim" }, "No call in this time.");
    const low = Math.min(...cells.map((cell) => cell[1]));
    const high = Math.max(...cells.map((cell) => cell[1]), low + 3);
    const left = 56, tall = Math.max(6, Math.min(14, 150 / (high - low + 1))), bottom = 18;
    const height = (high - low + 1) * tall + bottom + 6;
    const step = (width - left) / periods;
    const most = Math.max(...cells.map((cell) => cell[2]));
    const figure = svg("svg", { class: "strip", viewBox: `0 0 ${width} ${height}`, width, height, role: "img",
      "aria-label": "Latency over time, on a logarithmic scale: darker where more calls ended" });
    for (let power = -7; power < 7; power++) {
      for (const round of high - low > 16 ? [1] : [1, 3]) {
        const duration = round * Math.pow(10, power), y = 6 + (high + 1 - Math.log2(duration) * 2) * tall;
        if (y < 6 || y > height - bottom) continue;
        figure.append(svg("line", { class: "grid", x1: left, x2: width, y1: y, y2: y }));
        figure.append(svg("text", { class: "tick end", x: left - 6, y: y + 4 }, twm.rough(duration)));
      }
    }
    for (const [at, cell, calls] of cells) {
      if (at < first) continue;
      const shade = 1 + Math.min(4, Math.floor((Math.log(calls + 1) / Math.log(most + 1)) * 4.999));
      const mark = svg("rect", { class: "heat s" + shade, x: left + (at - first) * step, y: 6 + (high - cell) * tall,
        width: Math.max(1, step - 0.5), height: tall - 0.5 });
      mark.append(svg("title", {}, `${twm.plural(calls, "call")} of up to ${twm.seconds(Math.pow(2, (cell + 1) / 2))}, ${twm.clock(at * periodS)}`));
      figure.append(mark);
    }
    timeAxis(figure, left, width, height - 4, periods, periodS);
    return figure;
  }

  const ROW = 24;
  const WEIGHTS = {
    cost: { of: (frame) => frame[4], shown: twm.dollars },
    time: { of: (frame) => frame[3], shown: twm.seconds },
    calls: { of: (frame) => frame[1] + frame[9].reduce((sum, inside) => sum + WEIGHTS.calls.of(inside), 0), shown: twm.count },
    tokens: { of: (frame) => frame[7] + frame[9].reduce((sum, inside) => sum + WEIGHTS.tokens.of(inside), 0), shown: twm.count },
  };

  // `zoom`: the names of the tools from the outside to the one that fills the width.
  function flame(frames, weight, zoom, width, choose) {
    const { of, shown } = WEIGHTS[weight];
    const total = frames.reduce((sum, frame) => sum + of(frame), 0);
    const figure = svg("svg", { class: "flame", role: "group", "aria-label": "Flame graph by " + weight });
    let deepest = 0, scaled = false;

    function draw(frame, path, x, wide, depth) {
      if (wide < 0.4) return;
      deepest = Math.max(deepest, depth);
      const value = of(frame), share = total ? value / total : 0;
      const words = `${path.join(" > ")}: ${shown(value)}, ${twm.percent(share)}; ${twm.plural(frame[1], "call")}` +
        (frame[2] ? `, ${twm.count(frame[2])} failed` : "") + (frame[6] ? `, ${twm.count(frame[6])} unpriced` : "") +
        (frame[8] && weight === "time" ? "; calls inside ran at once, drawn scaled" : "");
      const room = Math.floor((wide - 12) / 7), cut = room >= 3 && frame[0].length > room;
      // A name must hold the text that is seen, so where that is cut the title alone names the bar.
      const box = svg("g", { class: "frame " + twm.hue(frame[0]), tabindex: wide < 3 ? null : 0, role: "button", "aria-label": cut ? null : words,
        "data-path": JSON.stringify(path), onclick: () => choose(path),
        onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(path); } } });
      box.append(svg("title", {}, words));
      box.append(svg("rect", { x, y: depth * ROW, width: Math.max(0.4, wide - 1), height: ROW - 2, rx: 2 }));
      if (room >= 3) {
        const label = cut ? frame[0].slice(0, room - 1) + "…" : frame[0];
        box.append(svg("text", { x: x + 6, y: depth * ROW + 15 }, label));
        const extra = "  " + shown(value);
        if (frame[0].length + extra.length + 1 <= room) box.append(svg("text", { class: "extra", x: x + wide - 7, y: depth * ROW + 15 }, extra.trim()));
      }
      figure.append(box);
      const inside = frame[9].map((child) => [child, of(child)]).filter((pair) => pair[1] > 0).sort((a, b) => b[1] - a[1]);
      const sum = inside.reduce((all, pair) => all + pair[1], 0);
      if (sum > value * 1.000001) scaled = true;
      let at = x;
      for (const [child, its] of inside) {
        const room = (its / Math.max(value, sum)) * wide;
        draw(child, [...path, child[0]], at, room, depth + 1);
        at += room;
      }
    }

    let shownFrames = frames, path = [];
    const around = [];
    for (const name of zoom) {
      const next = shownFrames.find((frame) => frame[0] === name);
      if (!next) break;
      path = [...path, name];
      around.push([next, path]);
      shownFrames = next[9];
    }
    if (around.length) {
      around.slice(0, -1).forEach(([frame, its], depth) => draw([...frame.slice(0, 9), []], its, 0, width, depth));
      const [frame, its] = around[around.length - 1];
      draw(frame, its, 0, width, around.length - 1);
    } else {
      let at = 0;
      for (const frame of [...frames].sort((a, b) => of(b) - of(a))) {
        const wide = total ? (of(frame) / total) * width : 0;
        draw(frame, [frame[0]], at, wide, 0);
        at += wide;
      }
    }
    const height = (deepest + 1) * ROW;
    figure.setAttribute("viewBox", `0 0 ${width} ${height}`);
    figure.setAttribute("width", width);
    figure.setAttribute("height", height);
    return { figure, total, scaled };
  }

  // The calls of one trace, each as a bar from its start to its end.
  function waterfall(calls, chosen, width) {
    const depth = new Map(), byId = new Map(calls.map((call) => [call.id, call]));
    const depthOf = (call) => {
      if (!depth.has(call.id)) depth.set(call.id, call.parent && byId.has(call.parent) ? depthOf(byId.get(call.parent)) + 1 : 0);
      return depth.get(call.id);
    };
    const from = Math.min(...calls.map((call) => call.started));
    const to = Math.max(...calls.map((call) => call.started + call.duration), from + 1e-6);
    const names = Math.min(200, width * 0.38), row = 22, room = width - names - 64;
    const figure = svg("svg", { class: "waterfall", viewBox: `0 0 ${width} ${calls.length * row}`, width, height: calls.length * row,
      role: "img", "aria-label": "Calls of the trace over time; the table below has the same" });
    calls.forEach((call, at) => {
      const x = names + ((call.started - from) / (to - from)) * room;
      const wide = Math.max(1.5, (call.duration / (to - from)) * room), y = at * row;
      const failed = call.outcome === "failure" || call.outcome === "timeout";
      const indent = Math.min(depthOf(call) * 10, names * 0.5), letters = Math.floor((names - indent - 8) / 6.8);
      const label = call.tool.length <= letters ? call.tool : call.tool.slice(0, Math.max(1, letters - 1)) + "…";
      const box = svg("g", { class: "span " + twm.hue(call.tool) + (failed ? " failed" : "") + (call.id === chosen ? " chosen" : "") });
      box.append(svg("title", {}, `${call.tool}: ${twm.seconds(call.duration)}, ${call.outcome}, ${twm.dollars(call.cost)}`));
      box.append(svg("text", { x: indent, y: y + 15 }, (failed ? "✕ " : "") + label));
      box.append(svg("rect", { x, y: y + 4, width: wide, height: row - 8, rx: 2 }));
      box.append(svg("text", { class: "extra", x: Math.min(x + wide + 4, width - 60), y: y + 15 }, twm.seconds(call.duration)));
      figure.append(box);
    });
    return figure;
  }

  Object.assign(twm, { spark, lines, strip, flame, waterfall, WEIGHTS });
})((window.twm = window.twm || {}));
