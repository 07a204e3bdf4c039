// The tab Insight: tables of growth, a treemap to descend, and tables of shares, made of one record.
// Names are set as text, never as HTML.
(function () {
  "use strict";
  const packed = document.getElementById("insight");
  if (packed === null) return;
  const { number, size, unpack, changed, draw } = window.jwqlscanPage;
  const root = document.querySelector(".insight");
  const SVG = "http://www.w3.org/2000/svg";
  const TITLES = { last: "the last run", "7d": "7 days", "30d": "30 days", "90d": "90 days" };
  const LEAST_TILE = 0.004; // of the whole, to be divided once more inside
  let data = null;
  let place = 0; // in the treemap: a node of the area's tree; of the whole, if `everything`
  let everything = false;

  const find = (selector) => root.querySelector(selector);
  const chosen = (name) => find(`[data-pick=${name}]`).value;

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  const sized = (bytes) => make("span", { "data-bytes": bytes }, size(bytes));
  const sign = (by) => (by > 0 ? "+" : by < 0 ? "−" : "±");
  const share = (part, whole) => (whole > 0 ? `${number((100 * part) / whole, 1, 1)} %` : "");

  function fill(select, options) {
    const before = select.value;
    select.replaceChildren(...options.map(([value, text]) => make("option", { value }, text)));
    if (options.some(([value]) => String(value) === before)) select.value = before;
  }

  // What grew -----------------------------------------------------------------------------------

  const growths = () => data.growths.filter((one) => one.area === Number(chosen("area")));
  const current = () =>
    growths().find((one) => one.by === chosen("by") && one.window === chosen("window"));

  // The first time by program, if any has changed: that is what an archive team thinks in.
  function offerGrowth() {
    const found = growths();
    const windows = [...new Set(found.map((one) => one.window))];
    const questions = [...new Set(found.map((one) => one.by))];
    const [by, stretch] = [find("[data-pick=by]"), find("[data-pick=window]")];
    const fresh = by.options.length === 0;
    fill(stretch, windows.map((one) => [one, TITLES[one] ?? one]));
    if (fresh && windows.includes("7d")) stretch.value = "7d";
    fill(by, questions.map((one) => [one, one]));
    const empty = (one) => !found.some((g) => g.by === one && g.rows.some((row) => !row.rest));
    if (questions.length && empty(by.value)) by.value = questions.find((one) => !empty(one)) ?? by.value;
    for (const select of [by, stretch]) select.closest("label").hidden = found.length === 0;
  }

  function spark(values) {
    const known = values.filter((one) => one !== null).length;
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 120 24");
    svg.setAttribute("class", "spark");
    svg.setAttribute("aria-hidden", "true");
    if (known < 2) return svg;
    const step = 116 / Math.max(values.length - 1, 1);
    let path = "";
    let pen = "M";
    values.forEach((one, n) => {
      if (one === null) return;
      path += `${pen}${(2 + n * step).toFixed(1)} ${(22 - one * 0.2).toFixed(1)}`;
      pen = "L";
    });
    const line = document.createElementNS(SVG, "path");
    line.setAttribute("d", path);
    svg.append(line);
    return svg;
  }

  function tellGrowth() {
    const growth = current();
    const summary = find(".summary");
    const region = find(".growth .scroll");
    summary.classList.toggle("warn", growth !== undefined && !growth.exact);
    if (growth === undefined) {
      summary.textContent = "Two runs are needed to show growth: the next run adds it.";
      region.replaceChildren();
      return;
    }
    const [files, bytes] = [0, 1].map((n) => growth.after[n] - growth.before[n]);
    summary.replaceChildren(
      make("b", {}, sign(bytes), sized(Math.abs(bytes))),
      ` and ${sign(files)}${number(Math.abs(files), 0)} files from ${growth.since} to ${growth.until} UTC`,
      ...[growth.exact ? "" : "not exact", ...growth.notes].filter(Boolean).map((note) => ` · ${note}`),
    );
    const most = Math.max(1, ...growth.rows.map((row) => Math.abs(row.after[1] - row.before[1])));
    const head = make("tr", {}, ...[growth.by[0].toUpperCase() + growth.by.slice(1), "Change", "", "Files", "Before", "Now", "Over time"].map((text, n) =>
      make("th", { scope: "col", class: [1, 3, 4, 5].includes(n) ? "n" : "" }, text)));
    const body = make("tbody");
    for (const row of growth.rows) body.append(grown(row, growth, most));
    if (growth.rows.length === 0) body.append(make("tr", {}, make("td", { colspan: 7 }, "Nothing has changed.")));
    const table = make("table", {}, make("thead", {}, head), body);
    region.replaceChildren(table);
    if (growth.more > 0) region.append(make("p", {}, `and ${number(growth.more, 0)} more that changed less`));
  }

  function grown(row, growth, most) {
    const [files, bytes] = [0, 1].map((n) => row.after[n] - row.before[n]);
    const label = row.label || data.areas[growth.area].label;
    const name = make("th", { scope: "row" });
    const at = row.rest ? -1 : locate(growth.area, growth.by, row.label);
    if (at >= 0) {
      const link = make("button", { class: "name", title: "Show it in the treemap" }, label);
      link.addEventListener("click", () => visit(growth.by, at));
      name.append(link);
    } else name.append(label);
    if (row.kind === "added") name.append(" ", make("span", { class: "tag" }, "new"));
    if (row.kind === "removed") name.append(" ", make("span", { class: "tag" }, "gone"));
    const bar = make("span", { class: bytes < 0 ? "bar down" : "bar" });
    bar.style.width = `${(100 * Math.abs(bytes)) / most}%`;
    const line = spark(row.spark);
    const between = row.exact ? {} : { title: row.between ? `Between ${row.between.map((n) => sign(n) + size(Math.abs(n))).join(" and ")}` : "Not exact" };
    return make(
      "tr",
      row.rest ? { class: "rest" } : {},
      name,
      make("td", { class: "n", ...between }, row.exact ? "" : "~ ", sign(bytes), sized(Math.abs(bytes))),
      make("td", { class: "bars" }, bar),
      make("td", { class: "n" }, sign(files), number(Math.abs(files), 0)),
      make("td", { class: "n" }, sized(row.before[1])),
      make("td", { class: "n" }, sized(row.after[1])),
      make("td", {}, line),
    );
  }

  // Where it lies -------------------------------------------------------------------------------

  const treeOf = (area, by) => (by === "program" || by === "directory" ? data.areas[area].trees[by] : null);
  const tree = () => (everything ? data.tree : treeOf(Number(chosen("area")), chosen("tree")));
  const parts = (one, at) => {
    const found = [];
    one.parent.forEach((parent, n) => parent === at && found.push(n));
    return found.sort((a, b) => one.bytes[b] - one.bytes[a]);
  };

  // The names from the area down to a node.
  function trail(one, at) {
    const nodes = [];
    for (let n = at; n > 0; n = one.parent[n]) nodes.unshift(n);
    return nodes;
  }

  const pathOf = (one, at) => trail(one, at).map((n) => one.label[n]).join("/");

  function locate(area, by, label) {
    const one = treeOf(area, by);
    if (one === null) return -1;
    return one.label.findIndex((_, n) => n > 0 && !one.rest[n] && pathOf(one, n) === label);
  }

  // Go where a row of growth lies: into a directory, or to the whole that a leaf is a part of.
  function visit(by, at) {
    find("[data-pick=tree]").value = by;
    everything = false;
    const one = tree();
    go(parts(one, at).length > 0 ? at : one.parent[at]);
    find(".treemap").scrollIntoView({ block: "nearest" });
    find(`.tile[data-node="${at}"]`)?.classList.add("found");
  }

  // What was pressed is gone then: the keyboard goes on from where the reader is.
  const stay = () => find(".crumbs [aria-current]").focus({ preventScroll: true });

  function go(to) {
    place = to;
    tellPlace();
    stay();
  }

  function up() {
    if (everything) return;
    if (place > 0) go(tree().parent[place]);
    else if (data.wholes.length > 1) {
      everything = true;
      go(0);
    }
  }

  // How much each part grew, from the table of growth.
  function grownBy(one) {
    const growth = current();
    if (everything || growth === undefined || growth.by !== chosen("tree")) return () => null;
    const known = new Map(growth.rows.map((row) => [row.label, row.after[1] - row.before[1]]));
    return (n) => (one.rest[n] ? null : (known.get(pathOf(one, n)) ?? null));
  }

  function boxed(element, [left, top, right, bottom]) {
    Object.assign(element.style, {
      left: `${left / 10}%`, top: `${top / 10}%`,
      width: `${(right - left) / 10}%`, height: `${(bottom - top) / 10}%`,
    });
    return element;
  }

  function tile(one, n, growth, whole) {
    const [wide, high] = [one.box[n][2] - one.box[n][0], one.box[n][3] - one.box[n][1]];
    const inner = everything ? treeOf(data.wholes[n - 1], chosen("tree")) : one;
    const below = parts(inner, everything ? 0 : n);
    const name = one.label[n];
    const title = `${name}: ${size(one.bytes[n])}, ${number(one.files[n], 0)} files, ${share(one.bytes[n], whole)}`;
    const element = make(below.length ? "button" : "div", { class: "tile", "data-node": n, title });
    if (one.rest[n]) element.classList.add("rest");
    if (below.length && (wide * high) / 1e6 > LEAST_TILE) {
      const inside = make("span", { class: "inside", "aria-hidden": "true" });
      for (const part of below) {
        const label = make("span", { class: "text" }, make("span", {}, inner.label[part]));
        inside.append(boxed(make("span", inner.rest[part] ? { class: "rest" } : {}, label), inner.box[part]));
      }
      element.append(inside);
    }
    const text = make("span", { class: "text" }, make("span", { class: "label" }, name));
    const amount = make("span", { class: "size" }, sized(one.bytes[n]));
    text.append(amount);
    const by = growth(n);
    if (!by) amount.append(` · ${share(one.bytes[n], whole)}`);
    else {
      amount.append(make("b", {}, ` · ${sign(by)}`, sized(Math.abs(by))));
      element.classList.add(by > 0 ? "grew" : "shrank");
    }
    element.append(text);
    if (below.length) {
      element.addEventListener("click", () => {
        if (everything) {
          find("[data-pick=area]").value = String(data.wholes[n - 1]);
          everything = false;
          place = 0;
          tellArea();
          stay();
        } else go(n);
      });
    }
    return boxed(element, one.box[n]);
  }

  function tellPlace() {
    const one = tree();
    const whole = one.bytes[place];
    const below = parts(one, place);
    const growth = grownBy(one);
    find(".tiles").replaceChildren(...below.map((n) => tile(one, n, growth, whole)));
    if (below.length === 0) find(".tiles").append(make("p", {}, "Nothing is known of what is in here."));
    tellTrail(one);
    const numbers = find(".treemap .numbers");
    const rows = below.map((n) => [one.label[n], sized(one.bytes[n]), number(one.files[n], 0), share(one.bytes[n], whole)]);
    rows.push(["all of it", sized(whole), number(one.files[place], 0), ""]);
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...["", "size", "files", "share"].map((text) =>
      make("th", { scope: "col" }, text)))), make("tbody", {}, ...rows.map(([name, ...cells]) =>
      make("tr", {}, make("th", { scope: "row" }, name), ...cells.map((cell) => make("td", {}, cell))))));
    numbers.replaceChildren(table);
    const area = data.areas[Number(chosen("area"))];
    const folded = !everything && chosen("tree") === "directory" && area.untold > 0;
    find(".treemap .remark").textContent = folded
      ? `${number(area.untold, 0)} smaller directories are not listed: they are in the sums of their parents.` : "";
  }

  function tellTrail(one) {
    const area = data.areas[Number(chosen("area"))];
    const steps = [];
    if (data.wholes.length > 1) steps.push(["All areas", () => { everything = true; go(0); }]);
    if (!everything) {
      steps.push([area.label, () => go(0)]);
      for (const n of trail(one, place)) steps.push([one.label[n], () => go(n)]);
    }
    const crumbs = steps.map(([text, action], n) => {
      if (n === steps.length - 1) return make("b", { "aria-current": "location", tabindex: -1 }, text);
      const button = make("button", {}, text);
      button.addEventListener("click", action);
      return button;
    });
    const back = make("button", { class: "up", title: "One level up (Backspace)" }, "↑ up");
    back.addEventListener("click", up);
    back.disabled = steps.length < 2;
    const between = crumbs.flatMap((crumb, n) => (n ? [make("span", { "aria-hidden": "true" }, " › "), crumb] : [crumb]));
    const total = make("span", { class: "total" }, " ", sized(one.bytes[place]), `, ${number(one.files[place], 0)} files`);
    find(".crumbs").replaceChildren(back, ...between, total);
  }

  find(".treemap").addEventListener("keydown", (event) => {
    if (event.key !== "Backspace" || event.target.tagName === "SELECT") return;
    event.preventDefault();
    up();
  });

  // Shares --------------------------------------------------------------------------------------

  function tellShares() {
    const area = data.areas[Number(chosen("area"))];
    const measure = Number(chosen("measure"));
    find(".shares").replaceChildren(...area.shares.map(({ title, rows }) => {
      const most = Math.max(1, ...rows.map((row) => (row.rest ? 0 : row.sum[measure])));
      const body = make("tbody");
      for (const row of rows) {
        const bar = make("span", { class: "bar" });
        // Collapsed rows are often larger than all listed ones: they have no bar.
        bar.style.width = row.rest ? "0" : `${(100 * row.sum[measure]) / most}%`;
        body.append(make("tr", row.rest ? { class: "rest" } : {}, make("th", { scope: "row" }, row.label),
          make("td", { class: "bars" }, bar), make("td", { class: "n" }, sized(row.sum[1])),
          make("td", { class: "n" }, number(row.sum[0], 0)), make("td", { class: "n" }, share(row.sum[measure], area.total[measure]))));
      }
      const head = ["", "", "Size", "Files", measure ? "of bytes" : "of files"];
      const table = make("table", {}, make("thead", {}, make("tr", {}, ...head.map((text, n) =>
        make("th", { scope: "col", class: n > 1 ? "n" : "" }, text)))), body);
      const region = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, table);
      return make("figure", { class: "card" }, make("figcaption", {}, make("h2", {}, title)), region);
    }));
  }

  function tellArea() {
    const area = data.areas[Number(chosen("area"))];
    const [files, bytes] = area.total;
    const of = find(".of");
    of.classList.toggle("warn", !area.complete);
    of.replaceChildren(sized(bytes), `, ${number(files, 0)} files, as the run of ${area.date} found them`,
      area.complete ? "" : "; it could not read everything");
    if (data.hidden > 0) of.append(`; ${data.hidden} more areas are not shown`);
    offerGrowth();
    tellGrowth();
    tellPlace();
    tellShares();
  }

  const onChange = {
    area: () => { everything = false; place = 0; tellArea(); },
    by: () => { tellGrowth(); tellPlace(); },
    window: () => { tellGrowth(); tellPlace(); },
    tree: () => { place = 0; tellPlace(); },
    measure: tellShares,
  };
  for (const [name, action] of Object.entries(onChange)) find(`[data-pick=${name}]`).addEventListener("change", action);
  const toggle = find(".numbers-of");
  toggle.addEventListener("click", () => {
    const numbers = find(".treemap .numbers");
    numbers.hidden = !numbers.hidden;
    toggle.setAttribute("aria-expanded", String(!numbers.hidden));
  });

  // The titles of the tiles have sizes too.
  changed.push(() => data !== null && tellPlace());
  draw.set(root.closest("[role=tabpanel]").id, async () => {
    if (data !== null) return;
    data = await unpack(packed);
    fill(find("[data-pick=area]"), data.areas.map((area, n) => [n, area.label]));
    tellArea();
  });
})();
