// The changes of a database as they happen: a long poll after the other, the newest on top, so many and no more.

import { partPath, request } from './api.js';
import { databaseSelect } from './databases.js';
import { docHref } from './documents.js';
import { field, h, problem, setData, setText } from './dom.js';
import { clock, count } from './format.js';

const ROWS_MAX = 200;
const EARLIER = 25;
const POLL_MS = 25_000;
/** Between two polls: many changes come as one drawing, not as hundreds a second. */
const BREATH_MS = 200;
const AFTER_ERROR_MS = 2_000;

/** Draws the view. */
export async function changes(root, { args: [chosen] }, signal) {
  root.append(h('div', { class: 'head' }, h('h1', { tabindex: -1 }, 'Changes')));
  const select = await databaseSelect(chosen, signal, (db) => { location.hash = `#/changes/${encodeURIComponent(db)}`; });
  const db = select.value;
  const status = h('p', { class: 'live', role: 'status' }, h('span', { class: 'dot', 'aria-hidden': 'true' }), h('span', {}, ' '));
  const toggle = h('button', { type: 'button' }, 'Pause');
  const rows = h('tbody', {});
  root.append(h('div', { class: 'row' }, field('Database', select), toggle, status));
  if (!db) {
    toggle.hidden = true;
    return;
  }
  root.append(h('div', { class: 'scroll' }, h('table', { class: 'changes' },
    h('thead', {}, h('tr', {}, ['Seen', 'Document', 'Revision', ''].map((head) => h('th', { scope: 'col' }, head || h('span', { class: 'unseen' }, 'Kind'))))), rows)),
  h('p', { class: 'hint' }, `The newest first, ${ROWS_MAX} at most.`));

  let paused = null;
  let seen = 0;
  const say = (kind, text) => {
    setData(status, { kind });
    setText(status.lastChild, text);
  };
  const counted = () => say('live', `live · ${count(seen)} since this view was opened`);
  toggle.addEventListener('click', () => {
    if (paused) {
      paused();
      paused = null;
      setText(toggle, 'Pause');
      counted();
    } else {
      paused = () => {};
      setText(toggle, 'Resume');
      say('paused', 'paused · what happens meanwhile is shown when you resume');
    }
  });
  const resumed = () => new Promise((resolve) => {
    paused = resolve;
    signal.addEventListener('abort', resolve, { once: true });
  });

  const show = (results, time) => {
    rows.prepend(...results.map((change) => rowOf(db, change, time)).reverse());
    while (rows.children.length > ROWS_MAX) rows.lastChild.remove();
  };
  // Where to go on from first, then what was before: nothing that happens in between is missed.
  let { last_seq: since } = await request('GET', partPath(db, '_changes'), { query: { since: 'now', limit: 1 }, signal });
  const earlier = await request('GET', partPath(db, '_changes'), { query: { descending: true, limit: EARLIER }, signal });
  // What happened between the two questions comes by both.
  const both = new Set(earlier.results.map(({ id, changes: [{ rev }] }) => `${id} ${rev}`));
  show(earlier.results.reverse(), null);
  counted();
  while (!signal.aborted) {
    if (paused) await resumed();
    try {
      const answer = await request('GET', partPath(db, '_changes'), {
        query: { feed: 'longpoll', since, limit: ROWS_MAX, timeout: POLL_MS },
        signal,
        timeout: POLL_MS + 15_000,
      });
      // What comes during a pause waits with it.
      if (paused) await resumed();
      if (signal.aborted) return;
      since = answer.last_seq;
      const fresh = answer.results.filter(({ id, changes: [{ rev }] }) => !both.has(`${id} ${rev}`));
      seen += fresh.length;
      show(fresh, Date.now());
      counted();
    } catch (error) {
      if (signal.aborted) return;
      if (error.status === 404 || error.denied) {
        root.append(problem(error));
        say('bad', 'ended');
        return;
      }
      say('bad', `interrupted, trying again: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, AFTER_ERROR_MS));
    }
    await new Promise((resolve) => setTimeout(resolve, BREATH_MS));
  }
}

function rowOf(db, { id, changes: revs, deleted }, time) {
  return h('tr', { data: { id }, class: time && 'new' },
    h('td', { class: 'mono' }, time ? clock(time) : 'earlier'),
    h('th', { scope: 'row' }, deleted ? id : h('a', { href: docHref(db, id) }, id)),
    h('td', { class: 'mono rev' }, revs.map(({ rev }) => rev).join(', ')),
    h('td', {}, deleted ? h('span', { class: 'tag bad' }, 'deleted') : revs[0].rev.startsWith('1-') ? h('span', { class: 'tag' }, 'created') : h('span', { class: 'tag' }, 'changed')));
}
