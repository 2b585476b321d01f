// JSON as text: numbers keep their digits, which parsing and writing again would not. Pure.

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gsu;

/** The text with line breaks and two spaces a level; it must be valid JSON. */
export function pretty(text) {
  let out = '';
  let depth = 0;
  let last = '';
  const line = () => `\n${'  '.repeat(depth)}`;
  for (const [token] of text.matchAll(TOKEN)) {
    const opened = last === '{' || last === '[';
    if (token === '}' || token === ']') {
      depth -= 1;
      out += opened ? token : line() + token;
    } else if (token === ',' || token === ':') {
      out += token === ':' ? ': ' : ',';
    } else {
      out += opened || last === ',' ? line() + token : token;
      if (token === '{' || token === '[') depth += 1;
    }
    last = token;
  }
  return out;
}

/** What is wrong with the text, or null: it must be a JSON object. */
export function flaw(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? null : 'A document is a JSON object: { … }';
  } catch (error) {
    return error.message;
  }
}

/** The text of an object with the member `name` set to a string, whatever else is in it left as it is. */
export function withMember(text, name, value) {
  const key = JSON.stringify(name);
  let depth = 0;
  let previous = '';
  let found = false;
  for (const match of text.matchAll(TOKEN)) {
    const [token] = match;
    if (found && token !== ':') {
      return text.slice(0, match.index) + JSON.stringify(value) + text.slice(match.index + token.length);
    }
    if (depth === 1 && token === key && (previous === '{' || previous === ',')) found = true;
    if (token === '{' || token === '[') depth += 1;
    if (token === '}' || token === ']') depth -= 1;
    previous = token;
  }
  const open = text.indexOf('{') + 1;
  const empty = /^\s*\}/u.test(text.slice(open));
  return `${text.slice(0, open)}\n  ${key}: ${JSON.stringify(value)}${empty ? '\n' : ','}${text.slice(open)}`;
}

/** Bodies of the rows of an answer as one line each, without the members every row has. */
export function preview(doc, length = 160) {
  if (!doc) return '';
  const { _id, _rev, ...rest } = doc;
  const text = JSON.stringify(rest);
  return text.length > length ? `${text.slice(0, length)}…` : text;
}
