// Charts as SVG, drawn anew at each look: lines over time, and who led each shard when.

import { h, svg } from './dom.js';
import { clock } from './format.js';

const MARGIN = { top: 10, right: 12, bottom: 26, left: 58 };
const LINES_HEIGHT = 190;
const LANE_HEIGHT = 34;
const NARROW = 420;

/** The frame of a chart: caption, legend, picture, and the same as a table. */
function frame({ title, note, legend }) {
  const picture = svg('svg', { role: 'img', class: 'picture' });
  const table = h('table', {});
  const details = h('details', { class: 'as-table' }, h('summary', {}, 'As a table'), h('div', { class: 'scroll' }, table));
  const plot = h('div', { class: 'plot' }, picture);
  const element = h('figure', { class: 'chart' },
    h('figcaption', {}, h('h3', {}, title), h('p', { class: 'hint' }, note)), legend, plot, details);
  const width = () => Math.max(Math.round(plot.clientWidth), 240);
  return { element, picture, table, details, width };
}

function sized(picture, width, height) {
  picture.setAttribute('viewBox', `0 0 ${width} ${height}`);
  picture.setAttribute('width', width);
  picture.setAttribute('height', height);
}

function timeAxis(width, height, windowMs) {
  const minutes = windowMs / 60_000;
  const step = width < NARROW ? 2 : 1;
  const marks = [];
  for (let ago = 0; ago <= minutes; ago += step) {
    const x = width - MARGIN.right - (ago / minutes) * (width - MARGIN.left - MARGIN.right);
    marks.push(
      svg('line', { class: 'tick', x1: x, x2: x, y1: height - MARGIN.bottom, y2: height - MARGIN.bottom + 4 }),
      svg('text', { class: 'axis', x, y: height - 7, 'text-anchor': ago === 0 ? 'end' : 'middle' }, ago === 0 ? 'now' : `−${ago} min`),
    );
  }
  return marks;
}

/** Round numbers from 0 to at least `max`. */
export function linearTicks(max) {
  const rough = Math.max(max, 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const ticks = [0];
  while (ticks.at(-1) < max || ticks.length < 2) ticks.push(Number((ticks.at(-1) + step).toPrecision(12)));
  return ticks;
}

/** Powers of ten around all values. */
export function logTicks(min, max) {
  const low = Math.floor(Math.log10(min) + 1e-9);
  const high = Math.max(Math.ceil(Math.log10(max) - 1e-9), low + 1);
  return Array.from({ length: high - low + 1 }, (_, n) => 10 ** (low + n));
}

/**
 * Lines over the last `windowMs`. `series`: `{key, name, style}`, `style` a class that gives colour and dash; a sample
 * is `{at, [key]: number or null}`. `show` makes a value text, `showTick` one at the axis.
 */
export function lineChart({ title, note, series, windowMs, logarithmic = false, show, showTick = show }) {
  const values = new Map(series.map(({ key }) => [key, h('span', { class: 'value' }, '–')]));
  const swatch = (style) => svg('svg', { class: 'swatch', viewBox: '0 0 24 8', width: 24, height: 8, 'aria-hidden': 'true' },
    svg('line', { class: `line ${style}`, x1: 0, x2: 24, y1: 4, y2: 4 }));
  const legend = h('ul', { class: 'legend' }, series.map(({ key, name, style }) => h('li', {}, swatch(style), name, values.get(key))));
  const { element, picture, table, details, width } = frame({ title, note, legend });
  let drawn = { samples: [], now: 0 };
  let pointed = null;

  function draw(samples = drawn.samples, now = drawn.now) {
    drawn = { samples, now };
    const [w, height] = [width(), LINES_HEIGHT];
    sized(picture, w, height);
    const known = samples.flatMap((sample) => series.map(({ key }) => sample[key])).filter((value) => Number.isFinite(value) && (!logarithmic || value > 0));
    const ticks = logarithmic ? logTicks(known.length ? Math.min(...known) : 0.1, known.length ? Math.max(...known) : 10) : linearTicks(Math.max(0, ...known));
    const scale = logarithmic ? Math.log10 : (value) => value;
    const [low, high] = [scale(ticks[0]), scale(ticks.at(-1))];
    const x = (at) => w - MARGIN.right - ((now - at) / windowMs) * (w - MARGIN.left - MARGIN.right);
    const y = (value) => height - MARGIN.bottom - ((scale(value) - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
    const parts = ticks.flatMap((tick) => [
      svg('line', { class: 'grid-line', x1: MARGIN.left, x2: w - MARGIN.right, y1: y(tick), y2: y(tick) }),
      svg('text', { class: 'axis', x: MARGIN.left - 8, y: y(tick) + 4, 'text-anchor': 'end' }, showTick(tick)),
    ]);
    parts.push(...timeAxis(w, height, windowMs));
    const inside = samples.filter((sample) => sample.at >= now - windowMs);
    for (const { key, style } of series) parts.push(svg('path', { class: `line ${style}`, d: path(inside, key, x, y) }));
    const at = pointed === null ? null : nearest(inside, now - ((w - MARGIN.right - pointed) / (w - MARGIN.left - MARGIN.right)) * windowMs);
    if (at) {
      parts.push(svg('line', { class: 'pointer', x1: x(at.at), x2: x(at.at), y1: MARGIN.top, y2: height - MARGIN.bottom }),
        svg('text', { class: 'axis', x: Math.min(Math.max(x(at.at), MARGIN.left + 26), w - 36), y: MARGIN.top + 2, 'text-anchor': 'middle' }, clock(at.at)));
    }
    if (!known.length) parts.push(svg('text', { class: 'axis', x: (w + MARGIN.left) / 2, y: height / 2, 'text-anchor': 'middle' }, 'nothing measured yet'));
    picture.replaceChildren(...parts);
    const told = at ?? inside.at(-1);
    for (const { key } of series) values.get(key).textContent = show(told?.[key] ?? null);
    const spoken = series.map(({ key, name }) => `${name} ${show(inside.at(-1)?.[key] ?? null)}`).join(', ');
    picture.setAttribute('aria-label', `${title}, last ${windowMs / 60_000} minutes. Now: ${spoken}.`);
    if (details.open) tabulate(table, ['Time', ...series.map(({ name }) => name)], everyFifth(inside).map((sample) => [clock(sample.at), ...series.map(({ key }) => show(sample[key] ?? null))]));
  }
  picture.addEventListener('pointermove', (event) => { pointed = event.offsetX; draw(); });
  picture.addEventListener('pointerleave', () => { pointed = null; draw(); });
  details.addEventListener('toggle', () => draw());
  new ResizeObserver(() => draw()).observe(element);
  return { element, draw };
}

function path(samples, key, x, y) {
  let pen = 'M';
  let text = '';
  for (const sample of samples) {
    const value = sample[key];
    if (!Number.isFinite(value)) {
      pen = 'M';
      continue;
    }
    const [px, py] = [x(sample.at), y(value)];
    if (!Number.isFinite(py)) continue;
    text += `${pen}${px.toFixed(1)} ${py.toFixed(1)}`;
    pen = 'L';
  }
  return text;
}

const nearest = (samples, at) => samples.reduce((best, one) => (best && Math.abs(best.at - at) <= Math.abs(one.at - at) ? best : one), null);

/** The newest first, one of five: every ten seconds. */
const everyFifth = (samples) => samples.toReversed().filter((_, n) => n % 5 === 0);

function tabulate(table, head, rows) {
  const cells = (tag, texts) => h('tr', {}, texts.map((text) => h(tag, tag === 'th' ? { scope: 'col' } : {}, text)));
  table.replaceChildren(h('thead', {}, cells('th', head)), h('tbody', {}, rows.map((row) => cells('td', row))));
}

/** Who led each shard when: one lane a shard, a mark at each election. */
export function reignChart({ title, note, windowMs }) {
  const key = (style, text) => h('li', {}, svg('svg', { class: 'swatch', viewBox: '0 0 24 12', width: 24, height: 12, 'aria-hidden': 'true' }, style), text);
  const legend = h('ul', { class: 'legend' },
    key(svg('rect', { class: 'reign place0', width: 24, height: 12, rx: 3 }), 'a primary (a colour a node)'),
    key(svg('rect', { class: 'reign none', width: 24, height: 12, rx: 3 }), 'none'),
    key(svg('path', { class: 'election', d: 'M12 0 L17 6 L12 12 L7 6 Z' }), 'an election'));
  const { element, picture, table, details, width } = frame({ title, note, legend });
  let drawn = { reigns: new Map(), now: 0 };

  function draw(reigns = drawn.reigns, now = drawn.now) {
    drawn = { reigns, now };
    const lanes = [...reigns];
    const [w, height] = [width(), MARGIN.top + MARGIN.bottom + lanes.length * LANE_HEIGHT];
    sized(picture, w, height);
    const x = (at) => Math.max(MARGIN.left, w - MARGIN.right - ((now - at) / windowMs) * (w - MARGIN.left - MARGIN.right));
    const parts = timeAxis(w, height, windowMs);
    lanes.forEach(([shard, list], lane) => {
      const top = MARGIN.top + lane * LANE_HEIGHT;
      parts.push(svg('text', { class: 'axis', x: MARGIN.left - 8, y: top + 20, 'text-anchor': 'end' }, `shard ${shard}`));
      for (const reign of list) parts.push(...drawnReign(reign, x, top));
    });
    picture.replaceChildren(...parts);
    const elections = lanes.flatMap(([, list]) => list).filter((reign) => reign.elected).length;
    const spoken = lanes.map(([shard, list]) => `shard ${shard}: ${list.at(-1)?.node ?? 'no primary'}`).join(', ');
    picture.setAttribute('aria-label', `${title}. Elections seen in the last ${windowMs / 60_000} minutes: ${elections}. Now ${spoken}.`);
    if (details.open) {
      const rows = lanes.flatMap(([shard, list]) => list.map((reign) => [`${shard}`, reign.node ?? 'none', `${reign.term ?? '–'}`, clock(reign.from), clock(reign.to)]));
      tabulate(table, ['Shard', 'Primary', 'Term', 'Seen from', 'to'], rows);
    }
  }
  details.addEventListener('toggle', () => draw());
  new ResizeObserver(() => draw()).observe(element);
  return { element, draw };
}

function drawnReign(reign, x, top) {
  const [from, to] = [x(reign.from), x(reign.to)];
  const style = reign.node === null ? 'none' : `place${reign.place % 3}`;
  // However short: a second without a primary must not be too thin to be seen.
  const wide = Math.max(to - from, 3);
  const text = reign.node === null ? 'none' : reign.node;
  const parts = [svg('rect', { class: `reign ${style}`, x: from, y: top + 4, width: wide, height: LANE_HEIGHT - 8, rx: 4 },
    svg('title', {}, `${text}${reign.term === null ? '' : `, term ${reign.term}`}`))];
  if (wide > 14 + text.length * 8) parts.push(svg('text', { class: 'reign-name', x: from + 10, y: top + 21 }, text));
  if (wide > 90 && reign.term !== null) parts.push(svg('text', { class: 'reign-term', x: from + 18 + text.length * 8, y: top + 21 }, `term ${reign.term}`));
  if (reign.elected) parts.push(svg('path', { class: 'election', d: `M${from} ${top + LANE_HEIGHT / 2 - 7} l6 7 l-6 7 l-6 -7 Z` }));
  return parts;
}
