// What a page looks like to somebody who reads faint text badly, or has a keyboard alone. Defines window.reach.
(() => {
  const LEAST = {text: 4.5, large: 3}; // https://www.w3.org/TR/WCAG22/#contrast-minimum
  const app = () => document.querySelector('.stApp');
  const colours = new Map();
  const pixel = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const read = (text) => {
    if (!colours.has(text)) {
      pixel.clearRect(0, 0, 1, 1);
      pixel.fillStyle = text;
      pixel.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = pixel.getImageData(0, 0, 1, 1).data;
      colours.set(text, [r, g, b, a / 255]);
    }
    return colours.get(text);
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const isShown = (e) => {
    const box = e.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && getComputedStyle(e).visibility !== 'hidden';
  };

  // A slider's figure stands over its knob, not on it. Words on a colour of their own inside bars and cells are judged where they are chosen; disabled controls are exempt.
  const SKIPPED = 'style, script, canvas, [aria-hidden=true], [disabled], [aria-disabled=true], .modebar, .barlayer,'
    + '.heatmaplayer, .hoverlayer, [data-testid=stIconMaterial], [data-testid=stSliderThumbValue], [data-testid=stElementToolbar]';
  const measure = (e) => {
    let under = read(getComputedStyle(app()).backgroundColor);
    let opacity = 1;
    const up = [];
    for (let n = e; n; n = n.parentElement) up.unshift(n);
    for (const n of up) {
      const style = getComputedStyle(n);
      opacity *= Number(style.opacity);
      under = over(read(style.backgroundColor), under);
    }
    const style = getComputedStyle(e);
    const ink = read(e instanceof SVGElement ? style.fill : style.color);
    const [a, b] = [light(over([ink[0], ink[1], ink[2], ink[3] * opacity], under)), light(under)];
    return opacity < 0.05 || !ink[3] ? Infinity : (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  const listFaint = () => {
    const faint = new Set();
    const walker = document.createTreeWalker(app(), NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const e = node.parentElement;
      const words = node.textContent.trim();
      if (!words || e.closest(SKIPPED) || !isShown(e)) continue;
      const style = getComputedStyle(e);
      const size = parseFloat(style.fontSize);
      const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      const ratio = measure(e);
      if (ratio < (isLarge ? LEAST.large : LEAST.text)) faint.add(`${ratio.toFixed(2)} to 1: ${words.slice(0, 60)}`);
    }
    return [...faint];
  };

  // Focus shows where the control, what is in it or around it looks otherwise than before.
  const CONTROLS = 'a[href], button, input, select, textarea, summary, [tabindex="0"]';
  const LOOKS = ['outlineStyle', 'outlineWidth', 'outlineColor', 'boxShadow', 'borderColor', 'backgroundColor', 'opacity',
    'textDecorationLine', 'color', 'top', 'transform'];
  const look = (e) => {
    const near = [e, ...e.children, ...(e.closest('label')?.querySelectorAll('*') ?? [])];
    for (let n = e.parentElement, i = 0; n && i < 4; n = n.parentElement, i++) near.push(n);
    return near.map((n) => LOOKS.map((name) => getComputedStyle(n)[name]).join()).join(';');
  };
  let controls = [];
  let before = [];
  let seen = new Set();
  const markControls = () => {
    controls = [...document.querySelectorAll(CONTROLS)].filter(
      (e) => isShown(e) && !e.disabled && e.tabIndex >= 0 && !e.closest('[inert], .modebar, [data-testid=stElementToolbar]'),
    );
    document.activeElement.blur();
    before = controls.map(look);
    controls[0].focus({focusVisible: true}); // where the keyboard starts, also after an earlier walk
    seen = new Set([controls[0]]);
  };
  const describeUnseen = () => {
    const e = document.activeElement;
    const at = controls.indexOf(e);
    return at >= 0 && look(e) === before[at] ? e.outerHTML.slice(0, 200) : '';
  };
  const visitFocused = () => {
    const e = document.activeElement;
    const grid = e?.closest('[data-testid=stDataFrame]');
    if (!e || e === document.body || (seen.has(e) && !grid)) return {isOver: true, unseen: ''};
    seen.add(e);
    if (grid) { // in a table Tab goes on from cell to cell: take up after it
      controls.filter((c) => grid.contains(c)).forEach((c) => seen.add(c));
      const isAfter = (c) => !grid.contains(c) && grid.compareDocumentPosition(c) & Node.DOCUMENT_POSITION_FOLLOWING;
      const next = controls.find((c) => !seen.has(c) && isAfter(c));
      if (next) {
        next.focus({focusVisible: true});
        seen.add(next);
      }
      return {isOver: !next, unseen: ''};
    }
    return {isOver: false, unseen: describeUnseen()};
  };
  const listMissed = () => {
    const groups = new Set([...seen].map((e) => e.closest('[role=radiogroup]')).filter(Boolean));
    return controls
      .filter((e) => !seen.has(e) && e.isConnected && !groups.has(e.closest('[role=radiogroup]')))
      .map((e) => e.outerHTML.slice(0, 200));
  };
  const isDark = () => light(read(getComputedStyle(app()).backgroundColor)) < 0.5;

  window.reach = {listFaint, markControls, visitFocused, describeUnseen, listMissed, isDark};
})();
