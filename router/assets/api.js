// The public API, as the user who is logged in. Holds the only copy of credentials: in memory, gone with the page.

const ROOT = new URL('../', import.meta.url);
/** Longest wait for an answer that is not a long poll. */
const PATIENCE_MS = 15_000;

/** Who is asking; `basic` only where the server has no cookie sessions. */
const session = { known: false, name: null, roles: [], basic: null };
let whenLost = async () => {};

/** What the server answered instead of what was asked for; status 0: it did not answer. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body.reason ? `${body.error}: ${body.reason}` : body.error);
    Object.assign(this, { name: 'ApiError', status, error: body.error, reason: body.reason });
  }

  /** Whether a write may have taken effect all the same. */
  get unknown() {
    return this.status === 0 || this.error === 'unknown_outcome';
  }

  /** Whether the user may not do this, whoever they are now. */
  get denied() {
    return this.status === 401 || this.status === 403;
  }
}

/** `whenLost` is called when nobody is logged in and must be; it resolves when somebody is. */
export function onLost(callback) {
  whenLost = callback;
}

/** Who is logged in: name, roles, and whether nobody needs to (no admin is configured). */
export function who() {
  const { known, name, roles } = session;
  return { known, name, admin: roles.includes('_admin'), open: known && name === null && roles.includes('_admin') };
}

/** Path of a database, of a document in it, or of one of its endpoints. */
export const dbPath = (db) => encodeURIComponent(db);
export const partPath = (db, part) => `${dbPath(db)}/${part}`;
export function docPath(db, id) {
  const [, prefix, name] = /^(_design\/|_local\/)?(.*)$/su.exec(id);
  return `${dbPath(db)}/${prefix ?? ''}${encodeURIComponent(name)}`;
}

/** A name for an edit, so that it may be sent again. */
export function freshKey() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(16).padStart(8, '0')).join('');
}

async function send(method, path, { query = {}, body, key, signal, timeout = PATIENCE_MS } = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null) url.searchParams.set(name, value);
  }
  const headers = { accept: 'application/json' };
  if (session.basic) headers.authorization = session.basic;
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (key) headers['idempotency-key'] = key;
  const signals = [AbortSignal.timeout(timeout), ...(signal ? [signal] : [])];
  const text = typeof body === 'string' || body === undefined ? body : JSON.stringify(body);
  try {
    const response = await fetch(url, { method, headers, body: text, signal: AbortSignal.any(signals), credentials: 'same-origin', cache: 'no-store' });
    return { status: response.status, ok: response.ok, text: await response.text() };
  } catch (error) {
    if (signal?.aborted) throw error;
    const reason = error.name === 'TimeoutError' ? `no answer within ${timeout / 1000} s` : 'this router does not answer';
    throw new ApiError(0, { error: 'unreachable', reason });
  }
}

/** Asks, and gives the answer's text; when nobody is logged in it waits until somebody is, and asks again. */
export async function requestText(method, path, options = {}) {
  let answer = await send(method, path, options);
  if (answer.status === 401) {
    await refreshSession();
    if (!session.name && !who().open) {
      await whenLost();
      answer = await send(method, path, options);
    }
  }
  if (!answer.ok) throw new ApiError(answer.status, parsed(answer.text) ?? { error: `status ${answer.status}` });
  return answer.text;
}

/** The same, parsed. */
export async function request(method, path, options) {
  return JSON.parse(await requestText(method, path, options));
}

/** The same; numbers that would lose digits stay as they are written, to be shown (where the browser knows how). */
export async function requestExactly(method, path, options) {
  const exact = (_, value, context) => (typeof value === 'number' && JSON.rawJSON && String(value) !== context.source ? JSON.rawJSON(context.source) : value);
  return JSON.parse(await requestText(method, path, options), exact);
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Asks the server who we are. */
export async function refreshSession() {
  const answer = await send('GET', '_session');
  const { name = null, roles = [] } = parsed(answer.text)?.userCtx ?? {};
  Object.assign(session, { known: true, name, roles });
  return who();
}

/** Logs in: by cookie where the server has cookie sessions, else by a header with every request. */
export async function login(name, password) {
  Object.assign(session, { basic: null, name: null });
  const answer = await send('POST', '_session', { body: { name, password } });
  if (answer.status === 401) throw new ApiError(401, { error: 'Name or password is incorrect.' });
  if (answer.ok) await refreshSession();
  // No cookies there, or one that the browser did not keep (it wants TLS, say).
  if (!session.name) {
    const bytes = new TextEncoder().encode(`${name}:${password}`);
    session.basic = `Basic ${btoa(String.fromCharCode(...bytes))}`;
    const tried = await send('GET', '_session');
    if (!tried.ok) {
      session.basic = null;
      const reason = tried.status === 401 ? { error: 'Name or password is incorrect.' } : parsed(tried.text);
      throw new ApiError(tried.status, reason ?? { error: `status ${tried.status}` });
    }
  }
  await refreshSession();
  if (!session.name && !who().open) throw new ApiError(401, { error: 'Name or password is incorrect.' });
}

/** Forgets who we are, here and on the server. */
export async function logout() {
  if (!session.basic) await send('DELETE', '_session');
  session.basic = null;
  location.reload();
}
