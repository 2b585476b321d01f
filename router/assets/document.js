// One document: its JSON to edit, its revisions and conflicts. The text is kept as it is typed: numbers keep their digits.

import { dbPath, docPath, freshKey, request, requestText } from './api.js';
import { ask } from './dialogs.js';
import { field, h, notify, problem, setText } from './dom.js';
import { docHref } from './documents.js';
import { flaw, pretty, withMember } from './json.js';

const BLANK = '{\n  \n}';

/** Draws the view: of a document by its id, or of a new one. */
export async function editor(root, { args: [db, id], options }, signal) {
  const rev = options.get('rev');
  const home = `#/db/${encodeURIComponent(db)}`;
  const facts = h('p', { class: 'hint mono' }, ' ');
  root.append(
    h('nav', { class: 'crumbs', 'aria-label': 'Where you are' },
      h('a', { href: '#/databases' }, 'Databases'), h('span', { 'aria-hidden': 'true' }, '/'),
      h('a', { href: home }, db), h('span', { 'aria-hidden': 'true' }, '/')),
    h('div', { class: 'head' }, h('div', {}, h('h1', { tabindex: -1 }, id ?? 'New document'), facts)));
  const form = formOf(db, id, rev, facts);
  root.append(form.element);
  if (id) await form.load(signal);
}

function formOf(db, id, oldRev, facts) {
  let saved = BLANK;
  /** The edit's name: saved again after an answer that did not come, it takes effect once. */
  let edit = { text: null, key: null };
  const ident = id ? null : h('input', { name: 'id', autocomplete: 'off', spellcheck: 'false', autocapitalize: 'off' });
  const text = h('textarea', { name: 'doc', class: 'mono', spellcheck: 'false', rows: 22, 'aria-describedby': 'flaw', readonly: Boolean(oldRev), value: BLANK });
  const wrong = h('p', { class: 'flaw', id: 'flaw', 'aria-live': 'polite' });
  const clash = h('div', { role: 'alert' });
  const side = h('aside', { class: 'side', 'aria-label': 'Revisions' });
  const save = h('button', { type: 'submit', class: 'primary' }, id ? 'Save' : 'Create');
  const buttons = oldRev
    ? [h('a', { class: 'button', href: docHref(db, id) }, 'Back to the current revision')]
    : [save, h('button', { type: 'button', onclick: format }, 'Format'),
      id && h('button', { type: 'button', onclick: reload }, 'Reload'),
      id && h('button', { type: 'button', class: 'danger-text', onclick: remove }, 'Delete')];
  const element = h('form', { class: 'editor', onsubmit: (event) => { event.preventDefault(); store(); }, onkeydown: keys },
    h('div', { class: 'sheet' },
      ident && field('Id', ident, 'Left empty, the server makes one'),
      clash,
      field('Document', text), wrong,
      h('div', { class: 'buttons' }, buttons)),
    id && side);
  text.addEventListener('input', check);
  check();

  function check() {
    const what = flaw(text.value);
    setText(wrong, what ? `Not valid yet: ${what}` : 'Valid JSON');
    wrong.dataset.kind = what ? 'bad' : 'ok';
    text.setAttribute('aria-invalid', Boolean(what));
    save.disabled = Boolean(what);
    element.dataset.unsaved = !oldRev && text.value !== saved;
  }

  function put(value) {
    saved = value;
    text.value = value;
    check();
  }

  function format() {
    if (flaw(text.value) === null) text.value = pretty(text.value);
    check();
  }

  function keys(event) {
    if (event.key === 's' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!save.disabled && !oldRev) store();
    }
  }

  async function load(signal) {
    clash.replaceChildren();
    const query = oldRev ? { rev: oldRev } : {};
    try {
      put(pretty(await requestText('GET', docPath(db, id), { query, signal })));
    } catch (error) {
      if (signal?.aborted) return;
      text.hidden = true;
      save.disabled = true;
      const gone = `There is no such document${error.reason === 'deleted' ? ' any more: it is deleted' : ''}.`;
      clash.replaceChildren(error.status === 404 ? problem(gone) : problem(error, () => load(signal)));
      return;
    }
    text.hidden = false;
    const rev = JSON.parse(text.value)._rev;
    setText(facts, `revision ${rev}${oldRev ? ', to be read only' : ''}`);
    await revisions(signal);
  }

  async function reload() {
    if (text.value !== saved && !(await ask({ title: 'Load the document anew?', body: ['What you have written is not saved, and will be gone.'], label: 'Load', danger: true, action: () => {} }))) return;
    await load();
    notify('Loaded anew.');
  }

  async function store() {
    save.disabled = true;
    clash.replaceChildren();
    const name = id ?? ident.value.trim();
    const sent = `${name}\n${text.value}`;
    if (edit.text !== sent) edit = { text: sent, key: freshKey() };
    const options = { body: text.value, key: edit.key };
    try {
      const written = name ? await request('PUT', docPath(db, name), options) : await request('POST', dbPath(db), options);
      saved = text.value;
      element.dataset.unsaved = false;
      notify(`Saved ${written.id}, revision ${written.rev.split('-')[0]}.`);
      if (id) await load();
      else location.hash = docHref(db, written.id);
    } catch (error) {
      if (error.status === 409) await conflict(name);
      // Its own name makes it safe to save again.
      else clash.replaceChildren(problem(error.unknown ? 'Whether it was saved is not known. Save again: it takes effect once.' : `Not saved. ${error.message}`, error.status === 0 || error.status === 503 ? store : null));
    }
    check();
  }

  /** Somebody else was faster: shows theirs, and what can be done. Nothing typed is lost. */
  async function conflict(name) {
    let theirs = null;
    try {
      theirs = pretty(await requestText('GET', docPath(db, name)));
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    const rev = theirs && JSON.parse(theirs)._rev;
    const mine = JSON.parse(text.value)._rev;
    const load = () => { put(theirs); setText(facts, `revision ${rev}`); clash.replaceChildren(); };
    const keep = () => { text.value = withMember(text.value, '_rev', rev); check(); clash.replaceChildren(); text.focus(); };
    clash.replaceChildren(h('div', { class: 'conflict' },
      h('h2', {}, 'Not saved: somebody else has changed this document'),
      h('p', {}, mine ? `Yours is based on revision ${mine}; ` : 'Yours names no revision; ', rev ? `the current one is ${rev}:` : 'the document has been deleted.'),
      theirs && h('pre', { class: 'mono', tabindex: 0, 'aria-label': 'The current revision' }, theirs),
      h('div', { class: 'buttons' },
        theirs && h('button', { type: 'button', onclick: load }, 'Load the current revision, drop mine'),
        theirs && h('button', { type: 'button', onclick: keep }, 'Keep mine, on top of the current one'))));
    clash.querySelector('button')?.focus();
  }

  async function remove() {
    const rev = JSON.parse(saved)._rev;
    const key = freshKey();
    const deleted = await ask({
      title: `Delete ${id}?`,
      body: [`Revision ${rev}. A deleted document stays in the change feed as such, so that copies elsewhere learn of it.`],
      label: 'Delete document',
      danger: true,
      action: () => request('DELETE', docPath(db, id), { query: { rev }, key }),
    });
    if (!deleted) return;
    saved = text.value;
    element.dataset.unsaved = false;
    notify(`${id} is deleted.`);
    location.hash = `#/db/${encodeURIComponent(db)}`;
  }

  async function revisions(signal) {
    let meta;
    try {
      meta = await request('GET', docPath(db, id), { query: { meta: true }, signal });
    } catch (error) {
      if (!signal?.aborted) side.replaceChildren(h('h2', {}, 'Revisions'), problem(error, () => revisions(signal)));
      return;
    }
    const href = (rev) => `${docHref(db, id)}?rev=${encodeURIComponent(rev)}`;
    const item = ({ rev, status }) => h('li', { class: 'mono', 'aria-current': rev === (oldRev ?? meta._rev) && 'true' },
      status === 'available' ? h('a', { href: rev === meta._rev ? docHref(db, id) : href(rev), title: rev }, shortRev(rev)) : h('span', { class: 'hint', title: rev }, `${shortRev(rev)} ${status}`));
    const conflicts = [...(meta._conflicts ?? []).map((rev) => ({ rev, deleted: false })), ...(meta._deleted_conflicts ?? []).map((rev) => ({ rev, deleted: true }))];
    side.replaceChildren(
      h('h2', {}, 'Revisions'), h('ol', { class: 'revs' }, (meta._revs_info ?? []).map(item)),
      h('h2', {}, 'Conflicts'),
      conflicts.length ? h('ul', { class: 'revs' }, conflicts.map(({ rev, deleted }) => h('li', { class: 'mono' },
        h('a', { href: href(rev), title: rev }, shortRev(rev)), deleted ? h('span', { class: 'hint' }, ' deleted') : h('button', { type: 'button', class: 'small danger-text', 'aria-label': `Drop the conflicting revision ${rev}`, onclick: () => drop(rev) }, 'Drop'))))
        : h('p', { class: 'hint' }, 'None.'));
  }

  async function drop(rev) {
    const key = freshKey();
    const dropped = await ask({
      title: 'Drop this conflicting revision?',
      body: [`${rev} lost against the current revision and is kept beside it. It is marked as deleted; the current revision stays.`],
      label: 'Drop',
      danger: true,
      action: () => request('DELETE', docPath(db, id), { query: { rev }, key }),
    });
    if (dropped) await revisions();
  }

  return { element, load };
}

const shortRev = (rev) => (rev.length > 16 ? `${rev.slice(0, 14)}…` : rev);
