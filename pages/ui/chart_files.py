"""A chart as a file: what the buttons above it offer, PNG and SVG, drawn by the person's own browser."""

from __future__ import annotations

from sizing.safe_text import name_file

PIXELS_PER_PIXEL = 2
"""A PNG has twice the pixels of the screen, so that it stays sharp in a document."""


def build_config(name: str) -> dict[str, object]:
    """Plotly's settings of a chart: the button that downloads it, shown under the pointer or with the keyboard's focus.

    `SCRIPT` makes two of it (https://plotly.com/javascript/configuration-options/).
    """
    return {
        "responsive": True,
        "displayModeBar": "hover",
        "displaylogo": False,
        "displayNotifier": False,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {"format": "png", "filename": name_file(name), "scale": PIXELS_PER_PIXEL},
    }


SCRIPT = """<script>
(() => {
  if (window.weighbridgeChartFiles) return;
  window.weighbridgeChartFiles = true;
  const LEGEND_PX = 56;
  const save = (chart, original, format) => {
    const options = chart._context.toImageButtonOptions;
    const layout = chart.layout;
    const before = {options: {...options}, layout: {...layout}};
    options.format = format;
    if (format === 'svg') options.scale = 1;
    layout.font = {...layout.font, family: 'sans-serif'};
    layout.paper_bgcolor = layout.plot_bgcolor = '#FFFFFF';
    if (chart.data.some((trace) => trace.name && trace.showlegend !== false)) {
      const margin = layout.margin || {};
      layout.showlegend = true;
      layout.legend = {orientation: 'h', x: 0, xref: 'container', y: 0, yref: 'container', yanchor: 'bottom'};
      layout.margin = {...margin, b: (margin.b ?? 0) + LEGEND_PX};
      options.height = chart._fullLayout.height + LEGEND_PX;
      options.width = chart._fullLayout.width;
    }
    try {
      original.click();
    } finally {
      for (const [now, then] of [[options, before.options], [layout, before.layout]]) {
        for (const name of Object.keys(now)) if (!(name in then)) delete now[name];
        Object.assign(now, then);
      }
    }
  };
  const add = (chart, original, format) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'modebar-btn wb-chart-file';
    button.textContent = format.toUpperCase();
    button.setAttribute('aria-label', `Download as ${format.toUpperCase()}`);
    button.title = button.getAttribute('aria-label');
    button.addEventListener('click', () => save(chart, original, format));
    original.before(button);
  };
  const complete = () => {
    for (const original of document.querySelectorAll('.modebar-group > .modebar-btn:only-child')) {
      const chart = original.closest('.js-plotly-plot');
      if (!chart || !chart._context) continue;
      original.style.display = 'none';
      for (const format of ['png', 'svg']) add(chart, original, format);
    }
  };
  new MutationObserver(complete).observe(document.body, {childList: true, subtree: true});
  complete();
})();
</script>"""
"""Puts the two buttons where Plotly has one, once for the whole page: its own knows one format, that of the settings.

A file has the chart's legend in it, which stands as text under the chart on the page, white paper whatever the theme,
and the reader's own letters: the page's are not at hand where the file is opened. The script is fixed text; nothing
a person or a publisher wrote goes into it.
"""
