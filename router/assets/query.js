// A query box: `_find` where the server has it, else a range of ids.

import { partPath, request, requestExactly } from './api.js';
import { databaseSelect } from './databases.js';
import { documentTable, range } from './documents.js';
import { field, h, problem, refill, setText } from './dom.js';
import { flaw, pretty } from './json.js';
import { plural, span } from './format.js';

const EXAMPLE = '{\n  "selector": {\n    "_id": { "$gt": null }\n  },\n  "limit": 25\n}';
const RANGE_LIMIT = 25;

/** Draws the view. */
export async function query(root, { args: [chosen] }, signal) {
  root.append(h('div', { class: 'head' }, h('h1', { tabindex: -1 }, 'Query')));
  const result = h('section', { 'aria-label': 'Result', 'aria-live': 'polite' });
  const select = await databaseSelect(chosen, signal, (db) => { location.hash = `#/query/${encodeURIComponent(db)}`; });
  const db = select.value;
  const box = h('div', {});
  root.append(h('div', { class: 'row' }, field('Database', select)), box, result);
  if (!db) return;
  if (await hasFind(db, signal)) box.append(findForm(db, result, signal));
  else {
    box.append(
      h('p', { class: 'note' }, 'This server does not answer queries yet (501). Until it does, here are ranges of ids.'),
      rangeForm(db, result, signal));
  }
}

/** Asks for nothing, to see whether there is somebody to ask. */
async function hasFind(db, signal) {
  try {
    await request('POST', partPath(db, '_find'), { body: { selector: {}, limit: 1 }, signal });
    return true;
  } catch (error) {
    if (error.status === 501) return false;
    if (error.status === 0 || error.denied || error.status === 404) throw error;
    return true;
  }
}

function findForm(db, result, signal) {
  const text = h('textarea', { name: 'query', class: 'mono', rows: 9, spellcheck: 'false', value: EXAMPLE, 'aria-describedby': 'query-flaw' });
  const wrong = h('p', { class: 'flaw', id: 'query-flaw', 'aria-live': 'polite' });
  const run = h('button', { type: 'submit', class: 'primary' }, 'Run');
  const check = () => {
    const what = flaw(text.value);
    setText(wrong, what ? `Not valid yet: ${what}` : 'Valid JSON');
    wrong.dataset.kind = what ? 'bad' : 'ok';
    run.disabled = Boolean(what);
  };
  text.addEventListener('input', check);
  check();
  const ask = async (bookmark) => {
    run.disabled = true;
    try {
      const body = { ...JSON.parse(text.value), ...(bookmark && { bookmark }) };
      const began = performance.now();
      const answer = await requestExactly('POST', partPath(db, '_find'), { body, signal });
      const took = performance.now() - began;
      // Rows without an id were made by `fields`: there is nothing to link to.
      const whole = answer.docs.every((doc) => doc._id);
      const more = answer.docs.length >= (body.limit ?? 25) && answer.bookmark && answer.bookmark !== 'nil';
      refill(result,
        h('p', { class: 'hint' }, `${plural(answer.docs.length, 'document')} in ${span(took)}`),
        answer.warning && h('p', { class: 'note' }, answer.warning),
        whole ? documentTable(db, answer.docs) : h('pre', { class: 'mono', tabindex: 0 }, pretty(JSON.stringify(answer.docs))),
        more && h('div', { class: 'pager' }, h('button', { type: 'button', onclick: () => ask(answer.bookmark) }, 'Next page')));
    } catch (error) {
      if (!signal.aborted) refill(result, problem(error, () => ask(bookmark)));
    }
    check();
  };
  return h('form', {
    class: 'sheet',
    onsubmit: (event) => { event.preventDefault(); ask(); },
    onkeydown: (event) => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && !run.disabled) ask(); },
  }, field('Query', text, 'A Mango query: selector, fields, sort, limit. Ctrl+Enter runs it.'), wrong, h('div', { class: 'buttons' }, run));
}

function rangeForm(db, result, signal) {
  const [from, to] = ['from', 'to'].map((name) => h('input', { name, autocomplete: 'off', spellcheck: 'false' }));
  const ask = async (start) => {
    try {
      const page = await range(db, { from: start, to: to.value, limit: RANGE_LIMIT, signal });
      refill(result,
        page.docs.length ? documentTable(db, page.docs) : h('p', { class: 'empty' }, 'No document has an id in this range.'),
        page.next && h('div', { class: 'pager' }, h('button', { type: 'button', onclick: () => ask(page.next) }, 'Next page')));
    } catch (error) {
      if (!signal.aborted) refill(result, problem(error, () => ask(start)));
    }
  };
  ask();
  return h('form', { class: 'row', onsubmit: (event) => { event.preventDefault(); ask(from.value); } },
    field('From id', from), field('To id', to), h('button', { type: 'submit', class: 'primary' }, 'Run'));
}
