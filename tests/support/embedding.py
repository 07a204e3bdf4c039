"""A page that embeds the report's components as a site would: found through the manifest."""

from __future__ import annotations

import html
import json
from pathlib import Path

from bokeh.resources import Resources

# By `json_item`: the site's own script fetches the items, here from script elements, since a page
# that was opened as a file may fetch nothing.
_BY_ITEMS = """
for (const element of document.querySelectorAll("script.item")) {
  const item = JSON.parse(element.textContent);
  const target = document.createElement("div");
  target.id = item.target_id;
  element.previousElementSibling.append(target);
  Bokeh.embed.embed_item(item);
}
"""


def page(directory: Path, way: str) -> Path:
    """Write a page that shows every plot of the manifest, by their scripts or by their items."""
    manifest = json.loads((directory / "manifest.json").read_text())
    bokehjs = Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw
    (directory / "bokeh.js").write_text("\n".join(bokehjs))
    body, scripts = [], []
    for plot in manifest["plots"]:
        body.append(f"<h2>{html.escape(plot['title'])}</h2>")
        if way == "scripts":
            body.append(f"<div class=host>{(directory / plot['div']).read_text()}</div>")
            scripts.append(f"<script src={plot['script']}></script>")
        else:
            item = (directory / plot["json_item"]).read_text()
            body.append("<div class=host></div>")
            body.append(f"<script type=application/json class=item>{item}</script>")
    # BokehJS comes last: a component waits for it.
    end = "" if way == "scripts" else f"<script>{_BY_ITEMS}</script>"
    host = directory / "host.html"
    host.write_text(
        "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>A site</title>"
        f"<link rel=icon href=data:,><body>{''.join(body + scripts)}"
        f"<script src=bokeh.js></script>{end}"
    )
    return host
