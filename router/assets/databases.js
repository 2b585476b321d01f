// The databases: listed with what is in them, made, deleted.

import { dbPath, request } from './api.js';
import { ask } from './dialogs.js';
import { field, h, notify, problem } from './dom.js';
import { bytes, count } from './format.js';

const PAGE = 50;

/** A select of the databases, the chosen one first chosen; for the views that look into one. A field for who may not list them. */
export async function databaseSelect(chosen, signal, onchange) {
  let names;
  try {
    names = await request('GET', '_all_dbs', { query: { limit: 1000 }, signal });
  } catch (error) {
    if (!error.denied) throw error;
    const input = h('input', { name: 'db', value: chosen ?? '', autocomplete: 'off', spellcheck: 'false', onchange: () => onchange(input.value) });
    return input;
  }
  if (chosen && !names.includes(chosen)) names.unshift(chosen);
  const select = h('select', { name: 'db', onchange: () => onchange(select.value) },
    names.length ? null : h('option', { value: '' }, 'no databases'),
    names.map((name) => h('option', { value: name }, name)));
  select.value = chosen ?? names[0] ?? '';
  return select;
}

/** Draws the view. */
export async function databases(root, { options }, signal) {
  const from = options.get('from');
  const name = h('input', { name: 'db', required: true, autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off', pattern: '[a-z][a-z0-9_$\\(\\)+\\/\\-]*' });
  const said = h('div', {});
  const create = async (event) => {
    event.preventDefault();
    said.replaceChildren();
    try {
      await request('PUT', dbPath(name.value));
      location.hash = `#/db/${encodeURIComponent(name.value)}`;
    } catch (error) {
      said.replaceChildren(problem(error));
    }
  };
  const list = h('div', {}, h('p', { class: 'hint' }, 'Asking …'));
  root.append(
    h('div', { class: 'head' }, h('h1', { tabindex: -1 }, 'Databases')),
    h('form', { class: 'row', onsubmit: create, 'aria-label': 'New database' },
      field('New database', name, 'Lower-case letters, digits and _ $ ( ) + - /, a letter first'),
      h('button', { type: 'submit', class: 'primary' }, 'Create')),
    said, list);
  let names;
  try {
    names = await request('GET', '_all_dbs', { query: { limit: PAGE + 1, start_key: from === null ? undefined : JSON.stringify(from) }, signal });
  } catch (error) {
    if (!error.denied) throw error;
    list.replaceChildren(h('p', { class: 'note' }, 'Only a server admin may list databases. Open one by its name:'), openForm());
    return;
  }
  const next = names.splice(PAGE)[0];
  const infos = names.length ? await request('POST', '_dbs_info', { body: { keys: names }, signal }) : [];
  const rows = infos.filter((row) => row.info).map(rowOf);
  list.replaceChildren(
    rows.length ? h('div', { class: 'scroll' }, h('table', { class: 'databases' },
      h('thead', {}, h('tr', {}, ['Name', 'Documents', 'Deleted', 'Size', ''].map((head, n) => h('th', { scope: 'col', class: n > 0 && n < 4 && 'number' }, head || h('span', { class: 'unseen' }, 'Actions'))))),
      h('tbody', {}, rows))) : h('p', { class: 'empty' }, 'There are no databases yet. Create the first one above.'),
    h('div', { class: 'pager' },
      from !== null && h('a', { href: '#/databases' }, 'First page'),
      next && h('a', { href: `#/databases?from=${encodeURIComponent(next)}` }, 'Next page')));
}

function openForm() {
  const name = h('input', { name: 'open', required: true, autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off' });
  const open = (event) => {
    event.preventDefault();
    location.hash = `#/db/${encodeURIComponent(name.value)}`;
  };
  return h('form', { class: 'row', onsubmit: open }, field('Database', name), h('button', { type: 'submit' }, 'Open'));
}

function rowOf({ key, info }) {
  const path = encodeURIComponent(key);
  const row = h('tr', { data: { db: key } },
    h('th', { scope: 'row' }, h('a', { href: `#/db/${path}` }, key), info.props.partitioned && h('span', { class: 'tag' }, 'partitioned')),
    h('td', { class: 'number' }, count(info.doc_count)),
    h('td', { class: 'number' }, count(info.doc_del_count)),
    h('td', { class: 'number' }, bytes(info.sizes.external)),
    h('td', { class: 'actions' },
      h('a', { class: 'button small', href: `#/query/${path}`, 'aria-label': `Query ${key}` }, 'Query'),
      h('a', { class: 'button small', href: `#/changes/${path}`, 'aria-label': `Changes of ${key}` }, 'Changes'),
      // The system's own databases come and go with the cluster.
      !key.startsWith('_') && h('button', { type: 'button', class: 'small danger-text', 'aria-label': `Delete ${key}`, onclick: () => remove(key, info, row) }, 'Delete')));
  return row;
}

/** Tried again after an answer that did not come, it may be gone already, which is as good. */
async function deleteUnlessGone(db) {
  try {
    await request('DELETE', dbPath(db));
  } catch (error) {
    if (error.status !== 404) throw error;
  }
}

async function remove(db, info, row) {
  const deleted = await ask({
    title: `Delete the database ${db}?`,
    body: [`It has ${count(info.doc_count)} documents. They are gone for good, on all replicas.`],
    label: 'Delete database',
    danger: true,
    typed: db,
    action: () => deleteUnlessGone(db),
  });
  if (deleted) {
    row.remove();
    notify(`${db} is deleted.`);
  }
}
