"""The script that hands a component to BokehJS; the page's own is `page.js`."""

# The host page may load BokehJS after the component: the script waits 10 s for it.
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
