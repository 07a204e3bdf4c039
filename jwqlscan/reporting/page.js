// The page's own script. A figure is unpacked, adapted (columns, colours, scale) and handed to
// BokehJS when it is first seen; after that its models are changed in place. Nothing here makes
// code or HTML out of text: the page's policy allows neither.
(function () {
  "use strict";
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("data");
  const columns = read("columns");
  const packed = Array.from(document.querySelectorAll("script.figure"));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const darkOf = new Map(Object.entries(data.dark)); // a name may be "constructor"
  const DAY = 86400000;
  const TIB = 2 ** 40;
  const MOST_ROWS = 200;
  const PAPER_WIDTH = 970; // CSS pixels across Letter or A4 on its side, within the margins
  const state = { start: data.window[0], end: data.window[1], units: "binary" };
  let strip = null; // the overview's range
  // For the scripts of single tabs: how sizes are formatted, whom to notify of another unit,
  // and who draws a panel when it is seen.
  const shared = { number, size, unpack, changed: [], draw: new Map() };
  window.jwqlscanPage = shared;
  let moving = false;

  // Sizes and counts ----------------------------------------------------------------------------

  const SCALES = {
    binary: [1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]],
    decimal: [1000, ["B", "kB", "MB", "GB", "TB", "PB", "EB"]],
  };

  // Local-independent: commas between thousands, a point before decimals, no exponents.
  function number(value, most, least = 0) {
    return value.toLocaleString("en-US", { maximumFractionDigits: most, minimumFractionDigits: least });
  }

  function unitOf(bytes) {
    const [base, names] = SCALES[state.units];
    let power = 0;
    while (Math.abs(bytes) >= base * 0.9995 && power < names.length - 1) {
      bytes /= base;
      power++;
    }
    return { name: names[power], bytes: base ** power, power };
  }

  function size(bytes, digits = 2) {
    const unit = unitOf(bytes);
    const decimals = unit.power === 0 ? 0 : digits;
    return `${number(bytes / unit.bytes, decimals, decimals)} ${unit.name}`;
  }

  function value(plot, amount) {
    if (!Number.isFinite(amount)) return "";
    if (plot.bytes) return size(amount * TIB, 4);
    return number(amount, Number.isInteger(amount) ? 0 : 3);
  }

  const iso = (time) => new Date(time).toISOString().slice(0, 19).replace("T", " ");

  // Figures -------------------------------------------------------------------------------------

  async function unpack(element) {
    const bytes = Uint8Array.from(atob(element.textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  // What BokehJS takes for granted is white, and not in the JSON.
  function papered(item) {
    const paper = dark.matches ? darkOf.get("#ffffff") : "#ffffff";
    Object.assign(item.doc.roots[0].attributes, {
      background_fill_color: paper,
      border_fill_color: paper,
      outline_line_color: null,
    });
    return item;
  }

  // Put columns in their places and, on a dark page, a dark page's colours.
  function adapted(node) {
    if (typeof node === "string") return dark.matches && darkOf.has(node) ? darkOf.get(node) : node;
    if (Array.isArray(node)) return node.map(adapted);
    if (node === null || typeof node !== "object") return node;
    if (node.type === "column") {
      const column = columns[node.id];
      return Array.isArray(column) ? adapted(column) : column;
    }
    if (node.type === "ndarray") return node;
    const copy = {};
    for (const key of Object.keys(node)) copy[key] = adapted(node[key]);
    return copy;
  }

  // BokehJS draws its hover box white, with pale blue names, whatever the page is.
  const paint = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function dress(view) {
    const css = `:host { --tooltip-color: ${paint("--paper")}; --tooltip-text: ${paint("--ink")};
      --tooltip-border: ${paint("--quiet")}; --tooltip-arrow-color: ${paint("--quiet")};
      --tooltip-arrow-inner-color: ${paint("--paper")}; border-radius: 6px; opacity: 1; }
      .bk-tooltip-row-label { color: ${paint("--quiet")}; }`;
    for (const tool of view?.tool_views?.values() ?? []) {
      for (const box of tool.ttmodels?.values() ?? []) box.stylesheets = [css];
    }
  }

  function attributesOf(node, name, found = []) {
    if (Array.isArray(node)) node.forEach((one) => attributesOf(one, name, found));
    else if (node !== null && typeof node === "object") {
      if (node.type === "object" && node.name === name) found.push(node.attributes);
      Object.values(node).forEach((one) => attributesOf(one, name, found));
    }
    return found;
  }

  function prepare(item, plot, log) {
    const root = item.doc.roots[0];
    root.attributes.title = null; // the card has it
    root.attributes.above = []; // the page's banner explains the shading
    if (!plot.bars) {
      const toolbar = root.attributes.toolbar.attributes;
      toolbar.autohide = true;
      root.attributes.toolbar_location = "right"; // above it would hide the newest points
      Object.assign(root.attributes.x_range.attributes, { start: state.start, end: state.end });
    }
    if (plot.bytes) {
      const axes = attributesOf(root, "LinearAxis");
      for (const axis of axes) if (axis.axis_label) axis.axis_label = "Size";
    }
    for (const [which, hover] of attributesOf(root, "HoverTool").entries()) {
      const names = ["$snap_y", "@value", "@total"];
      for (let n = 0; n < 60; n++) names.push(`@y${n}`);
      const entries = hover.formatters ? hover.formatters.entries : [];
      const format = { type: "object", name: "CustomJSHover", id: `${root.id}-hover${which}`, attributes: {} };
      names.forEach((name, n) => entries.push([name, n === 0 ? format : { id: format.id }]));
      hover.formatters = { type: "map", entries };
      for (const line of hover.tooltips) {
        if (line[0] === "TiB") line[0] = "size";
        line[1] = line[1].replace(/\{0,0[^}]*\}$/, "{exact}");
      }
    }
    if (log) {
      root.attributes.y_scale = { type: "object", name: "LogScale", id: `${root.id}-log` };
      root.attributes.y_range.attributes.start = plot.smallest / 1.5;
      root.attributes.y_range.attributes.end *= 1.3;
      const axis = root.attributes.left[0].attributes;
      axis.ticker = { type: "object", name: "LogTicker", id: `${root.id}-ticker`, attributes: { min_interval: 0, desired_num_ticks: 6 } };
      for (const grid of root.attributes.center) if (grid.attributes && grid.attributes.dimension === 1) grid.attributes.axis = { id: root.attributes.left[0].id };
    }
    return item;
  }

  // Round numbers in the unit that is shown, as many as there is room for.
  function logTicks(low, high, bytes) {
    const [base, names] = bytes ? SCALES[state.units] : [1000, ["", "K", "M", "G"]];
    const scale = bytes ? TIB : 1;
    for (const steps of [[1, 2, 5], [1, 3], [1]]) {
      for (const tens of steps.length > 1 ? [[1, 10, 100]] : [[1, 10, 100], [1]]) {
        const ticks = names.flatMap((_, power) =>
          tens.flatMap((ten) => steps.map((step) => (step * ten * base ** power) / scale)),
        );
        const seen = ticks.filter((tick) => tick >= low && tick <= high);
        if (seen.length <= 9) return seen;
      }
    }
    return [];
  }

  // Formats and ticks follow the units in place; BokehJS would have them as code in strings.
  function finish(root, plot, log) {
    const axis = plot.bars ? root.below[0] : root.left[0];
    const range = plot.bars ? root.x_range : root.y_range;
    const { ticker, formatter } = axis;
    const plain = ticker.get_ticks.bind(ticker);
    const factor = () => (plot.bytes ? TIB / unitOf(Math.max(Math.abs(range.end), 1e-12) * TIB).bytes : 1);
    ticker.get_ticks = (low, high, ...rest) => {
      if (log) return { major: logTicks(low, high, plot.bytes), minor: [] };
      const by = factor();
      const ticks = plain(low * by, high * by, ...rest);
      return { major: ticks.major.map((tick) => tick / by), minor: [] };
    };
    formatter.doFormat = (ticks) => {
      if (!plot.bytes) return ticks.map((tick) => number(tick, 6));
      const unit = unitOf(range.end * TIB);
      return ticks.map((tick) =>
        log ? size(tick * TIB, 2).replace(/\.0+ /, " ") : `${number((tick * TIB) / unit.bytes, 6)} ${unit.name}`,
      );
    };
    for (const model of root.references()) {
      if (model.type === "CustomJSHover") model.format = (amount) => value(plot, amount);
    }
  }

  class Card {
    constructor(element) {
      this.element = element;
      this.info = data.cards[Number(element.dataset.card)];
      this.first = Number(element.dataset.first);
      this.plotElement = element.querySelector(".plot");
      this.logButton = element.querySelector(".log");
      this.dataButton = element.querySelector(".data");
      this.numbers = element.querySelector(".numbers");
      this.selects = Array.from(element.querySelectorAll("select"));
      this.log = false;
      this.root = null;
      this.busy = Promise.resolve();
      for (const select of this.selects) select.addEventListener("change", () => this.show());
      this.logButton.addEventListener("click", () => {
        this.log = !this.log;
        this.show();
      });
      this.dataButton.addEventListener("click", () => {
        this.numbers.hidden = !this.numbers.hidden;
        this.dataButton.setAttribute("aria-expanded", String(!this.numbers.hidden));
        this.update();
      });
    }

    get index() {
      const wanted = this.selects.map((select) => select.value);
      return this.info.options.findIndex((one) => one.every((option, n) => option === wanted[n]));
    }

    get plot() {
      return this.info.plots[this.index];
    }

    // One drawing at a time: a click during one waits for it.
    show() {
      this.element.dataset.drawn = "no";
      this.busy = this.busy.then(() => this.draw());
      return this.busy;
    }

    async draw() {
      const { index, plot } = this;
      this.logButton.hidden = !plot.log;
      const log = plot.log && this.log;
      this.logButton.setAttribute("aria-pressed", String(log));
      const item = prepare(papered(adapted(await unpack(packed[this.first + index]))), plot, log);
      // A height for the while in which there is no plot: nothing below may jump.
      this.plotElement.style.minHeight = `${this.plotElement.offsetHeight}px`;
      if (this.view !== undefined) this.view.clear();
      this.plotElement.replaceChildren();
      const target = document.createElement("div");
      target.style.display = "contents";
      target.id = `figure-${this.first}`;
      this.plotElement.append(target);
      this.view = await Bokeh.embed.embed_item({ ...item, target_id: target.id });
      const [drawn] = Array.from(this.view.roots ?? this.view);
      this.root = drawn.model;
      dress(drawn);
      this.plotElement.style.minHeight = "";
      finish(this.root, plot, log);
      if (!plot.bars) {
        const range = this.root.x_range;
        this.follow();
        range.change.connect(() => {
          if (!moving) setWindow(range.start, range.end, this);
        });
      }
      this.redraw();
      this.update();
      this.element.dataset.drawn = "yes";
    }

    // The end of the time axis, where a forecast is drawn beyond the newest run.
    get ahead() {
      const far = this.info.lead && this.plot.ahead;
      if (!far || state.end < data.newest) return 0;
      return Math.min(far - state.end, (state.end - state.start) * 0.7);
    }

    follow() {
      if (this.root === null || this.plot.bars) return;
      moving = true;
      const end = state.end + Math.max(0, this.ahead);
      this.root.x_range.setv({ start: state.start, end });
      this.fit(end);
      moving = false;
    }

    // The values' axis ends at the largest that is seen.
    fit(end) {
      let top = 0;
      let least = Infinity;
      for (const renderer of this.root.renderers) {
        const source = renderer.data_source.data;
        const glyph = renderer.glyph;
        const field = glyph.type === "Line" ? glyph.y.field : null;
        if (!field || !source[field]) continue;
        const [x, y] = [source.x, source[field]];
        for (let n = 0; n < x.length; n++) {
          if (x[n] >= state.start && x[n] <= end && y[n] > top) top = y[n];
          if (x[n] >= state.start && x[n] <= end && y[n] > 0 && y[n] < least) least = y[n];
        }
      }
      if (top <= 0) return;
      const log = this.plot.log && this.log;
      if (log && least < top) this.root.y_range.setv({ start: least / 1.5, end: top * 1.5 });
      if (!log) this.root.y_range.setv({ start: 0, end: top * 1.06 });
    }

    redraw() {
      if (this.root === null) return;
      const axis = this.plot.bars ? this.root.below[0] : this.root.left[0];
      axis.formatter.change.emit();
      axis.ticker.change.emit();
      const label = axis.axis_label;
      if (this.plot.bytes) axis.axis_label = `Size (${state.units === "binary" ? "powers of 1024" : "powers of 1000"})`;
      if (label === axis.axis_label) axis.change.emit();
    }

    // The numbers that are drawn in the date range, as a table, the newest first.
    update() {
      if (this.numbers.hidden || this.root === null) return;
      const { plot } = this;
      let header, rows;
      if (plot.bars) {
        const bars = this.root.renderers[0].data_source.data;
        header = ["", plot.bytes ? "size" : "files"];
        rows = Array.from(bars.label, (label, n) => [label, value(plot, bars.value[n])]);
      } else [header, rows] = this.rows();
      const table = document.createElement("table");
      const line = (cells, parent, kind) => {
        const row = parent.insertRow();
        cells.forEach((text, n) => {
          const cell = document.createElement(n === 0 ? "th" : kind);
          cell.scope = kind === "th" ? "col" : "row";
          cell.textContent = text;
          row.append(cell);
        });
      };
      line(header, table.createTHead(), "th");
      const body = table.createTBody();
      rows.slice(0, MOST_ROWS).forEach((row) => line(row, body, "td"));
      this.numbers.replaceChildren(table);
      if (rows.length > MOST_ROWS) {
        const more = document.createElement("p");
        more.textContent = `The newest ${MOST_ROWS} of ${rows.length} in this date range; a shorter one shows older rows.`;
        this.numbers.append(more);
      }
    }

    rows() {
      const { plot } = this;
      const series = new Map();
      let source = null;
      for (const renderer of this.root.renderers) {
        const shared = renderer.data_source.data;
        if (!("filled" in shared)) continue; // a forecast
        source = shared;
        const { glyph } = renderer;
        const field = glyph.type === "VArea" ? `y${series.size}` : glyph.y.field;
        if (!series.has(renderer.name)) series.set(renderer.name, shared[field]);
      }
      if (source === null) return [["Date (UTC)"], []];
      const rows = [];
      for (let n = source.x.length - 1; n >= 0; n--) {
        if (source.x[n] < state.start || source.x[n] > state.end) continue;
        const values = Array.from(series.values(), (column) => column[n]);
        const nothing = plot.stacked ? (one) => !one : (one) => !Number.isFinite(one);
        if (values.every(nothing)) continue; // a gap
        const mark = source.filled[n] ? "" : " (incomplete)";
        rows.push([iso(source.x[n]) + mark, ...values.map((one) => value(plot, one))]);
      }
      return [["Date (UTC)", ...series.keys()], rows];
    }
  }

  // The shared date range -----------------------------------------------------------------------

  const cards = Array.from(document.querySelectorAll("[data-card]"), (element) => new Card(element));
  const visible = (card) => card.element.closest("[role=tabpanel]").hidden === false;
  let timer = null;

  function setWindow(start, end, from = null) {
    if (moving || !(end > start)) return;
    if (from !== null) end -= Math.max(0, from.ahead > 0 && end > data.window[1] ? end - data.window[1] : 0);
    if (!(end > start)) end = start + DAY;
    Object.assign(state, { start, end });
    for (const card of cards) if (visible(card)) card.follow();
    if (strip !== null) {
      moving = true;
      strip.setv({ start, end });
      moving = false;
    }
    for (const button of document.querySelectorAll("#ranges button")) {
      const [from, to] = rangeOf(button.dataset.days);
      const near = Math.abs(from - start) + Math.abs(to - end) < DAY / 2;
      button.setAttribute("aria-pressed", String(near));
    }
    clearTimeout(timer);
    timer = setTimeout(() => cards.filter(visible).forEach((card) => card.update()), 150);
  }

  function rangeOf(days) {
    const [start, end] = data.window;
    if (days === "all") return [start, end];
    const margin = Number(days) * DAY * 0.03;
    return [data.newest - Number(days) * DAY - margin, data.newest + margin];
  }

  for (const button of document.querySelectorAll("#ranges button")) {
    button.addEventListener("click", () => setWindow(...rangeOf(button.dataset.days)));
  }

  async function drawStrip() {
    const element = document.getElementById("overview");
    if (element === null) return; // of one run there is no stretch of time
    const target = document.createElement("div");
    target.style.display = "contents";
    target.id = "overview-target";
    element.replaceChildren(target);
    const view = await Bokeh.embed.embed_item({ ...papered(adapted(data.overview)), target_id: target.id });
    const root = Array.from(view.roots ?? view)[0].model;
    strip = root.toolbar.tools[0].x_range;
    strip.setv({ start: state.start, end: state.end });
    strip.change.connect(() => {
      if (!moving) setWindow(strip.start, strip.end);
    });
  }

  // Units ---------------------------------------------------------------------------------------

  for (const button of document.querySelectorAll("#units button")) {
    button.addEventListener("click", () => {
      state.units = button.dataset.units;
      for (const one of document.querySelectorAll("#units button")) {
        one.setAttribute("aria-pressed", String(one === button));
      }
      for (const element of document.querySelectorAll("[data-bytes]")) {
        element.textContent = size(Number(element.dataset.bytes));
      }
      for (const card of cards) {
        card.redraw();
        card.update();
      }
      shared.changed.forEach((update) => update());
    });
  }

  // Tabs, as in the ARIA authoring practices: arrows move, one is reached with the tab key --------

  const tabs = Array.from(document.querySelectorAll("[role=tab]"));

  async function open(tab) {
    for (const one of tabs) {
      const chosen = one === tab;
      one.setAttribute("aria-selected", String(chosen));
      one.tabIndex = chosen ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
    }
    // A panel without a time axis has no use for a date range.
    const timed = document.getElementById(tab.getAttribute("aria-controls")).querySelector("[data-card]") !== null;
    for (const id of ["overview", "ranges"]) document.getElementById(id)?.toggleAttribute("hidden", !timed);
    document.querySelector(".hint").classList.toggle("untimed", !timed);
    document.body.dataset.drawn = "no";
    for (const card of cards.filter(visible)) {
      if (card.root === null) {
        await card.show();
        await new Promise((resolve) => setTimeout(resolve)); // let the reader scroll meanwhile
      } else card.follow();
    }
    await shared.draw.get(tab.getAttribute("aria-controls"))?.();
    document.body.dataset.drawn = "all";
  }

  tabs.forEach((tab, n) => {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: n + 1, ArrowLeft: n - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const next = tabs[(to + tabs.length) % tabs.length];
      next.focus();
      open(next);
    });
  });

  // The age of the newest run, computed again every minute: a page is left open for days --------

  const banner = document.getElementById("state");
  const TOLERANCE = 600000; // ms by which the clocks of two hosts may differ
  const icon = document.querySelector("link[rel=icon]");
  const iconOf = (colour) =>
    `data:image/svg+xml,<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="7" fill="${colour}"/></svg>`.replaceAll("#", "%23");

  function duration(ms) {
    const hours = Math.round(ms / 3600000);
    return hours < 1 ? "less than an hour" : hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} days`;
  }

  function showAge() {
    const age = Date.now() - Number(banner.dataset.newest);
    const isFuture = age < -TOLERANCE;
    const isStale = age > Number(banner.dataset.stale);
    const strong = banner.querySelector(".verdict");
    const verdict = strong.dataset.verdict ?? strong.textContent; // as it was written
    strong.dataset.verdict = verdict;
    const plain = verdict.replace(/^[✓⚠] /, "");
    strong.textContent = isFuture
      ? `⚠ ${plain}, dated ${duration(-age)} ahead of this computer's clock`
      : isStale ? `⚠ No run for ${duration(age)}. ${plain}` : verdict;
    banner.querySelector(".age").textContent = isFuture ? "" : ` · ${duration(Math.max(age, 0))} ago`;
    banner.classList.toggle("stale", isStale || isFuture);
    const isBad = strong.textContent.startsWith("⚠") || document.getElementById("alarm") !== null;
    document.title = (isBad ? "⚠ " : "") + document.title.replace(/^⚠ /, "");
    icon.href = iconOf(isBad ? "#c62828" : "#2e7d32");
  }

  if (banner !== null) {
    showAge();
    setInterval(showAge, 60000);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) showAge();
    });
  }

  // A browser that prints asks for light colours before it lays the page out, too late to draw.
  let drawnDark = dark.matches;
  let printing = false;

  function recolour() {
    if (printing || drawnDark === dark.matches) return;
    drawnDark = dark.matches;
    drawStrip();
    for (const card of cards) if (card.root !== null) card.show();
  }

  dark.addEventListener("change", recolour);
  addEventListener("beforeprint", () => {
    printing = true;
    const { classList, style } = document.documentElement;
    style.setProperty("--screen-width", `${innerWidth}px`);
    style.setProperty("--shrink", String(Math.min(1, PAPER_WIDTH / innerWidth)));
    classList.toggle("two-columns", innerWidth >= 1000);
    classList.toggle("drawn-dark", drawnDark);
  });
  addEventListener("afterprint", () => {
    printing = false;
    recolour();
  });
  open(tabs[0]);
  drawStrip();
})();
