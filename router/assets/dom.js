// Elements, made without parsing text as HTML: whatever a document holds stays text.

const SVG = 'http://www.w3.org/2000/svg';

/** An element: `h('p', {class: 'x', onclick}, 'text', child)`. Functions become listeners, `false` and `null` nothing. */
export function h(tag, props = {}, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

function filled(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (name === 'data') Object.assign(element.dataset, value);
    else if (name === 'value') element.value = value;
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replaces what is in an element; `false` and `null` are nothing, as above. */
export function refill(element, ...children) {
  element.replaceChildren();
  return filled(element, {}, children);
}

/** Sets an element's text if it is another one: screen readers and selections are left alone otherwise. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets data attributes if they are others. */
export function setData(element, data) {
  for (const [name, value] of Object.entries(data)) {
    if (element.dataset[name] !== String(value)) element.dataset[name] = value;
  }
}

/** A word or two for everybody to see for a while, and for screen readers to say. */
export function notify(text, kind = 'ok') {
  const notice = h('p', { class: 'notice', data: { kind } }, text);
  document.getElementById('notices').append(notice);
  setTimeout(() => notice.remove(), kind === 'error' ? 12_000 : 6_000);
}

/** Says what went wrong, and offers to try again where that may help. */
export function problem(error, again = null) {
  const button = again && h('button', { type: 'button', class: 'small retry', onclick: again }, 'Try again');
  return h('div', { class: 'problem', role: 'alert' }, h('span', {}, error.message ?? String(error)), button);
}

/** A field: a label, its control, and a hint below. */
export function field(label, control, hint) {
  return h('label', { class: 'field' }, h('span', { class: 'label' }, label), control, hint && h('span', { class: 'hint' }, hint));
}
