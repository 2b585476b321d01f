// What `/_metrics` says, made into rates and quantiles. Pure.

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/u;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/gu;
const REQUESTS = 'quorate_http_requests_total';
const BUCKETS = 'quorate_http_request_duration_seconds_bucket';
/** Questions that are asked by POST. */
const ASKED_BY_POST = /\/(_find|_explain|_all_docs|_design_docs|_local_docs|_bulk_get|_revs_diff|_missing_revs|queries)\b/u;
/** Long polls, whose time says nothing, and what is no work on documents. */
const LEFT_OUT = /\/(_changes|_security|_revs_limit|_shards|_compact|_index|_purged_infos_limit|_sync_shards|_ensure_full_commit|_view_cleanup)\b/u;

/** `read`, `write`, or null for what is neither: this page's own questions, feeds, administration. */
export function classOf(route, method) {
  if (!route.startsWith('/{db}') || LEFT_OUT.test(route)) return null;
  if (route === '/{db}') return method === 'POST' ? 'write' : null;
  if (method === 'GET' || method === 'HEAD') return 'read';
  if (method === 'POST') return ASKED_BY_POST.test(route) ? 'read' : 'write';
  return 'write';
}

/** Counts of reads, writes and failures (5xx), and how many reads and writes took at most so many seconds. */
export function parse(text) {
  const totals = { read: 0, write: 0, failed: 0, buckets: { read: new Map(), write: new Map() } };
  for (const line of text.split('\n')) {
    if (!line.startsWith(REQUESTS) && !line.startsWith(BUCKETS)) continue;
    const found = LINE.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries([...(found[2] ?? '').matchAll(LABEL)].map(([, name, value]) => [name, value]));
    const kind = classOf(labels.route ?? '', labels.method ?? '');
    const value = Number(found[3]);
    if (!kind || Number.isNaN(value)) continue;
    if (found[1] === REQUESTS) {
      totals[kind] += value;
      if ((labels.status ?? '').startsWith('5')) totals.failed += value;
    } else if (found[1] === BUCKETS) {
      const le = labels.le === '+Inf' ? Infinity : Number(labels.le);
      const buckets = totals.buckets[kind];
      buckets.set(le, (buckets.get(le) ?? 0) + value);
    }
  }
  return totals;
}

/** What was counted between two looks; a counter that went back was started anew with its process. */
export function between(before, after) {
  const restarted = after.read < before.read || after.write < before.write;
  const from = restarted ? parse('') : before;
  const minus = (kind) => new Map([...after.buckets[kind]].map(([le, n]) => [le, n - (from.buckets[kind].get(le) ?? 0)]));
  return {
    read: after.read - from.read,
    write: after.write - from.write,
    failed: Math.max(0, after.failed - from.failed),
    buckets: { read: minus('read'), write: minus('write') },
  };
}

/** The q-quantile in milliseconds, as Prometheus reckons it: linear inside a bucket; null when nothing was counted. */
export function quantile(q, buckets) {
  const sorted = [...buckets].sort(([a], [b]) => a - b);
  const total = sorted.at(-1)?.[1] ?? 0;
  if (total <= 0) return null;
  const rank = q * total;
  let [low, below] = [0, 0];
  for (const [le, n] of sorted) {
    if (n >= rank) {
      if (le === Infinity) return low * 1000;
      return (low + ((le - low) * (rank - below)) / Math.max(n - below, 1e-9)) * 1000;
    }
    [low, below] = [le, n];
  }
  return low * 1000;
}
