"""The two scripts that hand the figures to BokehJS: the page's, and a component's."""

# The page's head must show before 500 curves are drawn, which takes BokehJS 3 to 10 s; and linked
# time axes by a shared model would put all figures into one document, which is drawn as a whole.
PAGE_JS = """\
// Draws the figures one after the other, the one nearest to what is seen first: 500 curves take
// BokehJS some seconds, and nobody should wait for those below. Their time axes move together.
(async function () {
  "use strict";
  const waiting = Array.from(document.querySelectorAll("script.jwqlscan-figure"), (element) =>
    JSON.parse(element.textContent),
  );
  const ranges = [];
  let moving = false;

  function follow(range) {
    if (moving) return;
    moving = true;
    for (const other of ranges) {
      if (other !== range) other.setv({ start: range.start, end: range.end });
    }
    moving = false;
  }

  function distance(item) {
    const box = document.getElementById(item.target_id).parentElement.getBoundingClientRect();
    return Math.max(box.top - innerHeight, -box.bottom, 0);
  }

  while (waiting.length > 0) {
    const distances = waiting.map(distance);
    const [item] = waiting.splice(distances.indexOf(Math.min(...distances)), 1);
    await Bokeh.embed.embed_item(item);
    const range = Bokeh.index[item.root_id].model.x_range;
    if (ranges.length > 0) range.setv({ start: ranges[0].start, end: ranges[0].end });
    ranges.push(range);
    range.change.connect(() => follow(range));
    await new Promise((resolve) => setTimeout(resolve));
  }
  document.body.dataset.drawn = "all";
})();
"""

# The host page may load BokehJS after the component: it is looked for during 10 s.
COMPONENT_JS = """\
(function () {
  "use strict";
  const item = ITEM;
  let tries = 0;
  function draw() {
    const target = document.getElementById(item.target_id);
    if (window.Bokeh !== undefined && target !== null) {
      window.Bokeh.embed.embed_item(item);
    } else if (tries++ < 200) {
      setTimeout(draw, 50);
    } else {
      console.error(`jwqlscan: no BokehJS ${item.version}, or no element ${item.target_id}`);
    }
  }
  draw();
})();
"""
