// The cluster as shards and replicas, live, with its charts; promote and drain.

import { request } from './api.js';
import { lineChart, reignChart } from './chart.js';
import { ask } from './dialogs.js';
import { h, notify, setData, setText } from './dom.js';
import { clock, count, plural, rate, short, span } from './format.js';
import { WINDOW_MS, monitor } from './monitor.js';

const ROLES = { primary: 'Primary', replica: 'Replica', learner: 'Learner', candidate: 'Candidate', empty: 'Empty', damaged: 'Damaged', unknown: 'Unknown' };
const HEALTH = { ok: 'healthy', lagging: 'lagging', unhealthy: 'unhealthy', unreachable: 'no answer' };
/** Longest wait for a hand-over to be seen: elections take a third of a second, busy machines longer. */
const HANDOVER_MS = 20_000;

/** Draws the view into `root` until `signal` ends it. */
export function cluster(root, _, signal) {
  const alarms = h('div', { class: 'alarms', role: 'alert' });
  const tiles = tilesOf();
  const shards = h('div', { class: 'shards' });
  const happened = h('ol', { class: 'events', 'aria-label': 'What happened', tabindex: 0 });
  const charts = chartsOf();
  const waiting = h('p', { class: 'hint' }, 'Asking the cluster …');
  root.append(
    h('div', { class: 'head' }, h('h1', { tabindex: -1 }, 'Cluster'), h('p', { class: 'hint', id: 'fresh' })),
    alarms, waiting, tiles.element,
    h('section', { 'aria-label': 'Shards and replicas' }, shards),
    h('section', { class: 'charts', 'aria-label': 'Charts' }, charts.lines.map((chart) => chart.element), charts.reigns.element,
      h('figure', { class: 'chart' }, h('figcaption', {}, h('h3', {}, 'What happened'), h('p', { class: 'hint' }, 'Roles and health, since this page was opened')), happened)));
  const cards = new Map();
  const rows = new Map();

  const onState = () => {
    const { view, error } = monitor;
    setText(document.getElementById('fresh'), freshness(view, error));
    drawAlarms(alarms, view, error);
    if (!view) return;
    waiting.remove();
    for (const shard of view.shards) drawShard(shards, rows, cards, shard);
    tiles.drawState(view);
    charts.reigns.draw(monitor.reigns, Date.now());
  };
  const onMetrics = () => {
    for (const chart of charts.lines) chart.draw(monitor.samples, Date.now());
    tiles.drawRates(monitor.samples.at(-1));
  };
  const onEvents = () => {
    const item = (event) => h('li', { data: { kind: event.kind } }, h('time', {}, clock(event.at)), event.text);
    const none = h('li', { class: 'hint' }, 'Nothing yet: all is as it was.');
    happened.replaceChildren(...(monitor.events.length ? monitor.events.map(item) : [none]));
  };
  monitor.addEventListener('state', onState, { signal });
  monitor.addEventListener('metrics', onMetrics, { signal });
  monitor.addEventListener('events', onEvents, { signal });
  for (const draw of [onState, onMetrics, onEvents]) draw();
}

function freshness(view, error) {
  if (error?.denied) return 'Only a server admin may see the cluster.';
  if (error) return 'Not up to date.';
  return view ? `${view.cluster} · ${plural(view.shards.length, 'shard')} × ${view.shards[0]?.replicas.length ?? 0} replicas · live` : '';
}

function drawAlarms(box, view, error) {
  const list = error ? [{ kind: 'bad', text: `The cluster's state is not known: ${error.message}` }, ...(view?.alarms ?? [])] : view?.alarms ?? [];
  const texts = list.map((alarm) => alarm.text).join('\n');
  // Only when they change: screen readers say an alert anew whenever it is touched.
  if (box.dataset.texts === texts) return;
  box.dataset.texts = texts;
  box.replaceChildren(...list.map(({ kind, text }) => h('p', { class: 'alarm', data: { kind } }, text)));
}

function tilesOf() {
  const values = {};
  const tile = (key, name, hint) => {
    values[key] = h('dd', {}, '–');
    return h('div', { class: 'tile', title: hint }, h('dt', {}, name), values[key]);
  };
  const element = h('dl', { class: 'tiles' },
    tile('led', 'Shards led', 'Shards that have a primary'),
    tile('healthy', 'Replicas healthy', 'Replicas that answer, can serve, and are not far behind'),
    tile('lag', 'Highest lag', 'Entries committed and not applied yet, on the replica furthest behind'),
    tile('reads', 'Reads a second', 'Answered by this router'),
    tile('writes', 'Writes a second', 'Answered by this router'),
    tile('p99', 'Write p99', 'Ninety-nine of a hundred writes were answered within this time'));
  return {
    element,
    drawState(view) {
      setText(values.led, `${view.led} of ${view.shards.length}`);
      setText(values.healthy, `${view.healthy} of ${view.replicas.length}`);
      setText(values.lag, plural(view.lag, 'entry', 'entries'));
      setData(values.led.parentElement, { kind: view.led === view.shards.length ? 'ok' : 'bad' });
      setData(values.healthy.parentElement, { kind: view.healthy === view.replicas.length ? 'ok' : 'warn' });
    },
    drawRates(sample) {
      setText(values.reads, rate(sample?.reads ?? null));
      setText(values.writes, rate(sample?.writes ?? null));
      setText(values.p99, span(sample?.write99 ?? null));
    },
  };
}

function chartsOf() {
  const log = (value) => (value === null ? '–' : span(value));
  const tick = (value) => (value >= 1_000 ? `${value / 1_000} s` : `${value} ms`);
  const lines = [
    lineChart({
      title: 'Throughput',
      note: 'Requests a second, answered by this router',
      windowMs: WINDOW_MS,
      show: (value) => (value === null ? '–' : `${rate(value)}/s`),
      showTick: (value) => `${short(value)}/s`,
      series: [{ key: 'reads', name: 'reads', style: 's1' }, { key: 'writes', name: 'writes', style: 's2' }, { key: 'failed', name: 'failed (5xx)', style: 's3 dotted' }],
    }),
    lineChart({
      title: 'Latency',
      note: 'Time to the answer, last 10 s, logarithmic',
      windowMs: WINDOW_MS,
      logarithmic: true,
      show: log,
      showTick: tick,
      series: [
        { key: 'read50', name: 'read p50', style: 's1' }, { key: 'read99', name: 'read p99', style: 's1 dashed' },
        { key: 'write50', name: 'write p50', style: 's2' }, { key: 'write99', name: 'write p99', style: 's2 dashed' },
      ],
    }),
  ];
  return { lines, reigns: reignChart({ title: 'Elections', note: 'Who led each shard when, since this page was opened', windowMs: WINDOW_MS }) };
}

function drawShard(box, rows, cards, shard) {
  let row = rows.get(shard.id);
  if (!row) {
    const lead = h('p', { class: 'lead' });
    const list = h('ul', { class: 'replicas' });
    const element = h('section', { class: 'shard', 'aria-labelledby': `shard-${shard.id}` },
      h('div', { class: 'shard-head' }, h('h2', { id: `shard-${shard.id}` }, `Shard ${shard.id}`), lead), list);
    row = { element, lead, list };
    rows.set(shard.id, row);
    box.append(element);
  }
  setData(row.element, { led: Boolean(shard.primary) });
  setText(row.lead, shard.primary ? `${shard.primary.node} leads · term ${shard.primary.term}` : `no primary · term ${shard.term}`);
  for (const replica of shard.replicas) {
    const key = `${shard.id}/${replica.node}`;
    if (!cards.has(key)) {
      cards.set(key, cardOf(replica));
      row.list.append(cards.get(key).element);
    }
    cards.get(key).draw(replica, shard);
  }
}

/** One replica; drawn again in place, so that focus stays where it is. */
function cardOf({ node, shard: id }) {
  let now = null;
  const [role, health, reason] = [h('span', { class: 'role' }), h('span', { class: 'health' }), h('p', { class: 'reason', hidden: true })];
  const facts = Object.fromEntries(['term', 'applied', 'lag', 'heard'].map((key) => [key, h('dd', {})]));
  const promote = h('button', { type: 'button', class: 'small', onclick: () => askPromote(now, node) }, 'Promote');
  const drain = h('button', { type: 'button', class: 'small', onclick: () => askDrain(node) }, 'Drain');
  const again = h('button', { type: 'button', class: 'small', onclick: () => askLeadAgain(node) }, 'Lead again');
  const meter = h('div', { class: 'meter', 'aria-hidden': 'true' }, h('div', { class: 'fill' }));
  const fact = (name, key, title) => h('div', { title }, h('dt', {}, name), facts[key]);
  const element = h('li', { class: 'card', data: { shard: id, node } },
    h('div', { class: 'card-head' }, h('h3', {}, node), role),
    h('dl', { class: 'facts' },
      fact('term', 'term', 'Its term: each election raises it'),
      fact('applied', 'applied', 'Last entry folded into its engine, of the entries in its log'),
      fact('lag', 'lag', 'Entries committed in the replica set and not applied here, and how old what it has is'),
      fact('heard', 'heard', 'When it last heard its primary; the primary: when a majority last answered it')),
    meter, reason,
    h('div', { class: 'card-foot' }, health, promote, drain, again));
  promote.setAttribute('aria-label', `Promote ${node} to primary of shard ${id}`);
  drain.setAttribute('aria-label', `Drain ${node}: hand over what it leads`);
  again.setAttribute('aria-label', `Let ${node} lead again`);
  // Once, when a role has changed; never at the first look.
  element.addEventListener('animationend', () => element.classList.remove('changed'));

  function draw(replica, shard) {
    const gone = replica.health === 'unreachable';
    // A dead primary leads nothing, whatever it said last.
    const shownRole = gone && replica.role === 'primary' ? 'replica' : replica.role;
    if (now && element.dataset.role !== shownRole) element.classList.add('changed');
    now = { shard, replica };
    setData(element, { role: shownRole, health: replica.health });
    setText(role, gone ? (replica.role === 'primary' ? 'Was primary' : `Was ${(ROLES[replica.role] ?? replica.role).toLowerCase()}`) : ROLES[replica.role] ?? replica.role);
    setText(health, `${HEALTH[replica.health] ?? replica.health}${replica.draining ? ', draining' : ''}`);
    setText(facts.term, count(replica.term));
    setText(facts.applied, replica.last_index > replica.applied ? `${count(replica.applied)} of ${count(replica.last_index)}` : count(replica.applied));
    setText(facts.lag, gone ? 'not known' : lagOf(replica));
    setText(facts.heard, gone || replica.heard_ms === null ? '–' : `${span(replica.heard_ms)} ago`);
    const head = Math.max(...shard.replicas.map((one) => one.committed), 1);
    meter.firstChild.style.width = `${Math.min(100, (replica.applied / head) * 100).toFixed(1)}%`;
    setText(reason, replica.reason ?? '');
    reason.hidden = !replica.reason;
    const leads = replica.role === 'primary' && !gone;
    promote.hidden = leads || gone || replica.role !== 'replica' || Boolean(replica.draining);
    drain.hidden = !leads || Boolean(replica.draining);
    again.hidden = gone || !replica.draining;
  }
  return { element, draw };
}

/** Nothing, or how many entries and how old. */
function lagOf({ lag_entries: entries, lag_ms: ms }) {
  if (entries === 0 && ms === 0) return 'none';
  return ms === 0 ? plural(entries, 'entry', 'entries') : `${short(entries)} · ${span(ms)}`;
}

function askPromote({ shard }, node) {
  const from = shard.primary;
  ask({
    title: `Make ${node} the primary of shard ${shard.id}?`,
    body: [
      from ? `${from.node} hands over first. Writes to this shard pause for about the time of an election, a third of a second; nothing is lost.` : 'The shard has no primary now; its replicas vote on this one.',
      `${node} is asked to stand for election, and the other replicas vote: it is refused if it is behind.`,
    ],
    label: 'Promote',
    action: async () => {
      await request('POST', 'v1/_replication/promote', { body: { shard: shard.id, node, term: shard.term } });
      await seen(`shard ${shard.id} is led by ${node}`, (view) => view.shards.find((one) => one.id === shard.id)?.primary?.node === node);
      notify(`${node} is primary of shard ${shard.id}.`);
    },
  });
}

function askDrain(node) {
  const led = monitor.view.shards.filter((shard) => shard.primary?.node === node);
  ask({
    title: `Drain ${node}?`,
    body: [
      `It leads ${plural(led.length, 'shard')} (${led.map((shard) => shard.id).join(', ')}): each is handed to its most advanced other replica. ${node} stays a replica.`,
      'Do this before you stop a node on purpose. Writes to each shard pause for about a third of a second; nothing is lost.',
    ],
    label: 'Drain',
    action: async () => {
      await drain(node, led);
      await seen(`${node} leads nothing`, (view) => !view.shards.some((shard) => shard.primary?.node === node || !shard.primary));
      notify(`${node} leads nothing now.`);
    },
  });
}

function askLeadAgain(node) {
  ask({
    title: `Let ${node} lead again?`,
    body: ['It was drained: it gives away what it leads, and does not stand for election. It takes no shard back by itself.'],
    label: 'Lead again',
    action: async () => {
      await request('POST', 'v1/_replication/drain', { body: { node, drain: false } });
      await seen(`${node} may lead`, (view) => !view.replicas.some((replica) => replica.node === node && replica.draining));
      notify(`${node} may lead again.`);
    },
  });
}

/** By the server if it knows how, else one shard after the other. */
async function drain(node, led) {
  try {
    await request('POST', 'v1/_replication/drain', { body: { node } });
  } catch (error) {
    if (![404, 405, 501].includes(error.status)) throw error;
    for (const shard of led) {
      await request('POST', 'v1/_replication/promote', { body: { shard: shard.id, term: shard.term } });
    }
  }
}

/** Waits until the cluster shows what was asked for: a promotion is a vote, and may fail. */
async function seen(what, is) {
  const until = Date.now() + HANDOVER_MS;
  while (Date.now() < until) {
    await monitor.look();
    if (is(monitor.view)) return;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  throw new Error(`It was asked for, but after ${HANDOVER_MS / 1000} s it is not so yet that ${what}.`);
}
