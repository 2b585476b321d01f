// Dialogs: a question before something is done, and the way in. Esc closes all but the way in.

import { h, field } from './dom.js';
import { login } from './api.js';

/**
 * Asks before `action` is done, and does it: resolves to whether it was. `typed`: a word to type first. While the
 * action runs the dialog stays, and it says what went wrong if the action fails.
 */
export function ask({ title, body, label, danger = false, typed = null, action }) {
  // One question at a time: an older one that was not answered is taken for a no.
  document.querySelector('dialog.question')?.close();
  return new Promise((resolve) => {
    let done = false;
    const said = h('p', { class: 'problem', role: 'alert', hidden: true });
    const confirm = h('button', { type: 'submit', class: danger ? 'danger' : 'primary', disabled: typed !== null }, label);
    const cancel = h('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel');
    const input = typed && h('input', {
      autocomplete: 'off',
      spellcheck: 'false',
      name: 'typed',
      oninput: () => { confirm.disabled = input.value !== typed; },
    });
    const submit = async (event) => {
      event.preventDefault();
      if (typed !== null && input.value !== typed) return;
      confirm.disabled = true;
      said.hidden = true;
      try {
        await action();
        done = true;
        dialog.close();
      } catch (error) {
        said.textContent = error.message;
        said.hidden = false;
        confirm.disabled = false;
      }
    };
    const paragraphs = body.map((text) => h('p', {}, text));
    const dialog = h(
      'dialog',
      { class: 'question', 'aria-labelledby': 'dialog-title', onclose: () => { dialog.remove(); resolve(done); } },
      h('form', { onsubmit: submit },
        h('h2', { id: 'dialog-title' }, title),
        paragraphs,
        input && field(h('span', {}, 'Type ', h('code', {}, typed), ' to confirm'), input),
        said,
        h('div', { class: 'buttons' }, cancel, confirm)),
    );
    document.body.append(dialog);
    dialog.showModal();
    (input ?? cancel).focus();
  });
}

let entering = null;

/** Shows the login form; resolves when somebody is in. Only one at a time, however many ask. */
export function enter() {
  entering ??= new Promise((resolve) => {
    const said = h('p', { class: 'problem', role: 'alert', hidden: true });
    const name = h('input', { name: 'name', autocomplete: 'username', required: true, spellcheck: 'false', autocapitalize: 'off' });
    const password = h('input', { name: 'password', type: 'password', autocomplete: 'current-password', required: true });
    const button = h('button', { type: 'submit', class: 'primary' }, 'Log in');
    const submit = async (event) => {
      event.preventDefault();
      button.disabled = true;
      said.hidden = true;
      try {
        await login(name.value, password.value);
        dialog.remove();
        entering = null;
        resolve();
      } catch (error) {
        said.textContent = error.message;
        said.hidden = false;
        password.select();
        password.focus();
      }
      button.disabled = false;
    };
    // Browsers let Esc close any dialog sooner or later; this one comes back until somebody is in.
    const stay = () => { if (dialog.isConnected) dialog.showModal(); };
    const dialog = h('dialog', { class: 'login', 'aria-labelledby': 'login-title', closedby: 'none', oncancel: (event) => event.preventDefault(), onclose: stay },
      h('form', { onsubmit: submit },
        h('img', { src: 'icon.svg', alt: '', width: 44, height: 44 }),
        h('h2', { id: 'login-title' }, 'Log in to Quorate'),
        field('Name', name),
        field('Password', password),
        said,
        h('div', { class: 'buttons' }, button)));
    document.body.append(dialog);
    dialog.showModal();
    name.focus();
  });
  return entering;
}
