// Puts the page together: who is in, which view is shown, the health of the cluster in the corner.

import { logout, onLost, refreshSession, who } from './api.js';
import { changes } from './changes.js';
import { cluster } from './cluster.js';
import { databases } from './databases.js';
import { ask, enter } from './dialogs.js';
import { editor } from './document.js';
import { documents } from './documents.js';
import { problem, setData, setText } from './dom.js';
import { monitor } from './monitor.js';
import { query } from './query.js';

/** Path patterns behind `#/`, the view, its tab, its title. */
const VIEWS = [
  [/^cluster$/u, cluster, 'cluster', () => 'Cluster'],
  [/^databases$/u, databases, 'databases', () => 'Databases'],
  [/^db\/([^/]+)$/u, documents, 'databases', ([db]) => db],
  [/^db\/([^/]+)\/new$/u, editor, 'databases', ([db]) => `New document in ${db}`],
  [/^db\/([^/]+)\/doc\/([^/]+)$/u, editor, 'databases', ([db, id]) => `${id} in ${db}`],
  [/^query(?:\/([^/]+))?$/u, query, 'query', () => 'Query'],
  [/^changes(?:\/([^/]+))?$/u, changes, 'changes', () => 'Changes'],
];

const main = document.getElementById('main');
let leave = new AbortController();
/** Where the page is; a view with unsaved work may keep it from moving on. */
let shown = null;

function show() {
  const hash = location.hash.replace(/^#\/?/u, '') || 'cluster';
  if (hash === shown) return;
  const unsaved = main.querySelector('[data-unsaved="true"]');
  if (unsaved) {
    history.replaceState(null, '', `#/${shown}`);
    ask({
      title: 'Leave without saving?',
      body: ['What you have written is not saved, and will be gone.'],
      label: 'Leave',
      danger: true,
      action: () => { unsaved.dataset.unsaved = false; },
    }).then((leaves) => { if (leaves) location.hash = `#/${hash}`; });
    return;
  }
  const first = shown === null;
  shown = hash;
  leave.abort();
  leave = new AbortController();
  const [path, search = ''] = hash.split('?');
  const [found, view, tab, title] = matched(path) ?? matched('cluster');
  main.replaceChildren();
  for (const link of document.querySelectorAll('#nav a')) {
    if (link.dataset.view === tab) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.title = `${title(found)} · Quorate`;
  const { signal } = leave;
  Promise.resolve(view(main, { args: found, options: new URLSearchParams(search) }, signal)).catch((error) => {
    if (signal.aborted) return;
    const again = () => {
      shown = null;
      show();
    };
    main.append(problem(error, again));
  });
  if (!first) {
    main.querySelector('h1')?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
}

function matched(path) {
  for (const [pattern, view, tab, title] of VIEWS) {
    const found = pattern.exec(path);
    if (!found) continue;
    try {
      return [found.slice(1).map((part) => part && decodeURIComponent(part)), view, tab, title];
    } catch {
      // Not an address of ours: a stray % in it.
      return null;
    }
  }
  return null;
}

function showHealth() {
  const pill = document.getElementById('health');
  const { view, error } = monitor;
  if (error?.denied) {
    pill.hidden = true;
  } else if (error) {
    setData(pill, { health: 'bad' });
    setText(document.getElementById('health-text'), error.status === 0 ? 'router does not answer' : 'state not known');
  } else if (view) {
    const leaderless = view.shards.length - view.led;
    const ill = view.replicas.length - view.healthy;
    setData(pill, { health: leaderless ? 'bad' : ill ? 'warn' : 'ok' });
    setText(document.getElementById('health-text'), leaderless ? `${leaderless} of ${view.shards.length} shards without primary` : ill ? `${ill} of ${view.replicas.length} replicas unwell` : 'all healthy');
    setText(document.getElementById('cluster-name'), view.cluster);
  }
}

function showWho() {
  const { name, open } = who();
  const text = document.getElementById('who');
  text.hidden = !name;
  setText(text, name ?? '');
  document.getElementById('logout').hidden = !name || open;
}

/** The theme goes round: as the system has it, light, dark. */
function themeButton() {
  const button = document.getElementById('theme');
  const names = { '': 'Auto', light: 'Light', dark: 'Dark' };
  const label = () => {
    const chosen = document.documentElement.dataset.theme ?? '';
    setText(button, names[chosen]);
    button.setAttribute('aria-label', `Theme: ${names[chosen]}. Change it`);
  };
  button.addEventListener('click', () => {
    const order = Object.keys(names);
    const next = order[(order.indexOf(document.documentElement.dataset.theme ?? '') + 1) % order.length];
    if (next) document.documentElement.dataset.theme = next;
    else delete document.documentElement.dataset.theme;
    try {
      localStorage.setItem('quorate-theme', next);
    } catch {
      // Not kept then; it holds for this page.
    }
    label();
  });
  label();
}

async function start() {
  themeButton();
  document.getElementById('logout').addEventListener('click', () => logout());
  document.getElementById('skip').addEventListener('click', (event) => {
    event.preventDefault();
    main.focus();
  });
  onLost(async () => {
    showWho();
    await enter();
    showWho();
  });
  window.addEventListener('hashchange', show);
  window.addEventListener('beforeunload', (event) => {
    if (main.querySelector('[data-unsaved="true"]')) event.preventDefault();
  });
  monitor.addEventListener('state', showHealth);
  try {
    const { name, open } = await refreshSession();
    if (!name && !open) await enter();
  } catch {
    // The views ask again and say what is wrong.
  }
  showWho();
  monitor.start();
  show();
}

start();
