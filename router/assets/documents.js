// One database: its documents in ranges of their ids, page after page.

import { dbPath, partPath, request, requestExactly } from './api.js';
import { field, h } from './dom.js';
import { bytes, count, plural } from './format.js';
import { preview } from './json.js';

const PAGE = 25;

export const docHref = (db, id) => `#/db/${encodeURIComponent(db)}/doc/${encodeURIComponent(id)}`;

/** Rows of documents as a table; also for answers to queries. */
export function documentTable(db, docs) {
  const row = (doc) => h('tr', { data: { id: doc._id } },
    h('th', { scope: 'row' }, h('a', { href: docHref(db, doc._id) }, doc._id)),
    h('td', { class: 'mono rev' }, doc._rev),
    h('td', { class: 'mono preview' }, preview(doc)));
  return h('div', { class: 'scroll' }, h('table', { class: 'documents' },
    h('thead', {}, h('tr', {}, ['Id', 'Revision', 'Document'].map((head) => h('th', { scope: 'col' }, head)))),
    h('tbody', {}, docs.map(row))));
}

/** One page of `_all_docs`: the documents, and the id the next page begins with. */
export async function range(db, { from, to, limit, signal }) {
  const query = { include_docs: true, limit: limit + 1 };
  if (from) query.start_key = JSON.stringify(from);
  if (to) query.end_key = JSON.stringify(to);
  const { rows, total_rows } = await requestExactly('GET', partPath(db, '_all_docs'), { query, signal });
  const next = rows.splice(limit)[0]?.id ?? null;
  return { docs: rows.map((row) => row.doc), next, total: total_rows };
}

/** Draws the view. */
export async function documents(root, { args: [db], options }, signal) {
  const path = encodeURIComponent(db);
  const here = (from, to) => {
    const search = new URLSearchParams([['from', from], ['to', to]].filter(([, value]) => value));
    return `#/db/${path}${search.size ? `?${search}` : ''}`;
  };
  const [from, to] = [options.get('from') ?? '', options.get('to') ?? ''];
  const facts = h('p', { class: 'hint' }, ' ');
  const low = h('input', { name: 'from', value: from, autocomplete: 'off', spellcheck: 'false' });
  const high = h('input', { name: 'to', value: to, autocomplete: 'off', spellcheck: 'false' });
  const list = h('div', {}, h('p', { class: 'hint' }, 'Asking …'));
  const go = (event) => {
    event.preventDefault();
    location.hash = here(low.value, high.value);
  };
  root.append(
    h('nav', { class: 'crumbs', 'aria-label': 'Where you are' }, h('a', { href: '#/databases' }, 'Databases'), h('span', { 'aria-hidden': 'true' }, '/')),
    h('div', { class: 'head' }, h('div', {}, h('h1', { tabindex: -1 }, db), facts),
      h('div', { class: 'buttons' },
        h('a', { class: 'button', href: `#/query/${path}` }, 'Query'),
        h('a', { class: 'button', href: `#/changes/${path}` }, 'Changes'),
        h('a', { class: 'button primary', href: `#/db/${path}/new` }, 'New document'))),
    h('form', { class: 'row', onsubmit: go, 'aria-label': 'Range of ids' },
      field('From id', low), field('To id', high),
      h('button', { type: 'submit' }, 'Show'),
      (from || to) && h('a', { class: 'button', href: here('', '') }, 'All')),
    list);
  describe(db, facts, signal);
  const page = await range(db, { from, to, limit: PAGE, signal });
  list.replaceChildren(
    page.docs.length ? documentTable(db, page.docs) : h('p', { class: 'empty' }, from || to ? 'No document has an id in this range.' : 'This database is empty.'),
    h('div', { class: 'pager' },
      from && h('a', { href: '#', onclick: (event) => { event.preventDefault(); history.back(); } }, 'Back'),
      page.next && h('a', { href: here(page.next, to) }, 'Next page')));
}

async function describe(db, facts, signal) {
  try {
    const info = await request('GET', dbPath(db), { signal });
    facts.textContent = [
      plural(info.doc_count, 'document'), `${count(info.doc_del_count)} deleted`, bytes(info.sizes.external),
      `${plural(info.cluster.q, 'shard')} × ${info.cluster.n} replicas`,
    ].join(' · ');
  } catch (error) {
    if (!signal.aborted) facts.textContent = error.message;
  }
}
