// What `/v1/_replication/state` says, made into what a person wants to know. Pure.

import { plural } from './format.js';

/** Shards with their replicas, who leads, and what is wrong. */
export function understand(state) {
  const reachable = new Map(state.nodes.map((node) => [node.node, node.reachable]));
  const wanted = new Map((state.shards ?? []).map(({ shard, replicas }) => [shard, replicas]));
  for (const row of state.replicas) if (!wanted.has(row.shard)) wanted.set(row.shard, []);
  const shards = [...wanted].sort(([a], [b]) => a - b).map(([id, nodes]) => shardOf(id, nodes, state.replicas, reachable));
  const replicas = shards.flatMap((shard) => shard.replicas);
  return {
    cluster: state.cluster,
    shards,
    replicas,
    healthy: replicas.filter((replica) => replica.health === 'ok').length,
    led: shards.filter((shard) => shard.primary).length,
    lag: Math.max(0, ...replicas.filter((replica) => replica.health !== 'unreachable').map((replica) => replica.lag_entries)),
    alarms: alarmsOf(shards, state.nodes),
  };
}

function shardOf(id, placed, rows, reachable) {
  const own = rows.filter((row) => row.shard === id);
  // A replica set may have changed since the cluster file was written; its primary knows.
  const told = own.filter((row) => row.role === 'primary' && row.voters?.length).sort((a, b) => b.term - a.term)[0];
  const nodes = told ? [...told.voters, ...(told.learners ?? [])].map((member) => member.node) : placed;
  const never = nodes.filter((node) => !own.some((row) => row.node === node)).map((node) => unheard(id, node, reachable.get(node)));
  const replicas = [...own, ...never].sort((a, b) => byName(a.node, b.node));
  const leading = replicas.filter((row) => row.role === 'primary' && row.health !== 'unreachable');
  const primary = leading.reduce((best, row) => (best && best.term >= row.term ? best : row), null);
  return { id, replicas, primary, term: Math.max(0, ...replicas.map((row) => row.term)) };
}

/** A replica that should be there, and never said anything to this router. */
function unheard(shard, node, reachable) {
  const nothing = { term: 0, last_index: 0, committed: 0, applied: 0, lag_entries: 0, lag_ms: 0, heard_ms: null, engine: '' };
  const health = reachable ? 'unhealthy' : 'unreachable';
  return { ...nothing, shard, node, role: 'unknown', primary: null, health, reason: 'it has not answered this router yet' };
}

const byName = (a, b) => a.localeCompare(b, 'en', { numeric: true });

/** What must not be overlooked, worst first. */
function alarmsOf(shards, nodes) {
  const alarms = [];
  for (const { id, primary, replicas } of shards) {
    if (primary) continue;
    const left = replicas.filter((replica) => replica.health !== 'unreachable').length;
    const majority = Math.floor(replicas.length / 2) + 1;
    const why = left < majority
      ? `${left} of ${replicas.length} replicas answer, ${majority} are needed`
      : 'an election is under way';
    alarms.push({ kind: 'bad', text: `Shard ${id} has no primary: ${why}. Until there is one its writes and default reads are answered 503.` });
  }
  const gone = nodes.filter((node) => !node.reachable).map((node) => node.node).sort(byName);
  if (gone.length) {
    const does = gone.length === 1 ? 'does' : 'do';
    alarms.push({ kind: 'warn', text: `${gone.join(', ')} ${does} not answer. What is shown of ${gone.length === 1 ? 'it' : 'them'} was said last.` });
  }
  for (const replica of shards.flatMap((shard) => shard.replicas)) {
    if (replica.health === 'unhealthy') {
      alarms.push({ kind: 'warn', text: `${replica.node}, shard ${replica.shard}: ${replica.reason ?? 'it says that it cannot serve'}.` });
    }
  }
  return alarms;
}

/** What has happened between two looks; `known`: the reigns up to the first. */
export function events(before, after, at, known = new Map()) {
  const found = [];
  const add = (kind, text) => found.push({ at, kind, text });
  for (const shard of after.shards) {
    const old = before.shards.find((other) => other.id === shard.id);
    if (!old) continue;
    const [was, is] = [old.primary?.node, shard.primary?.node];
    const last = known.get(shard.id)?.findLast((reign) => reign.node !== null)?.node;
    const instead = last && last !== is ? `; before, ${last}` : '';
    if (is && is !== was) add('role', `Shard ${shard.id}: ${is} is primary, term ${shard.primary.term}${instead}`);
    else if (is && shard.primary.term > old.primary.term) add('role', `Shard ${shard.id}: ${is} is primary again, term ${shard.primary.term}`);
    else if (!is && was) add('bad', `Shard ${shard.id} has lost its primary ${was}`);
    for (const replica of shard.replicas) {
      const previous = old.replicas.find((other) => other.node === replica.node);
      if (!previous || previous.health === replica.health) continue;
      const words = { ok: 'is well again', lagging: `lags behind by ${plural(replica.lag_entries, 'entry', 'entries')}`, unhealthy: 'cannot serve', unreachable: 'does not answer' };
      add(replica.health === 'ok' ? 'ok' : 'bad', `${replica.node} ${words[replica.health]} (shard ${shard.id})`);
    }
  }
  return found;
}

/** Who has led each shard since when: lengthens the last reign, or begins the next. */
export function reigns(known, view, at, keepFrom) {
  const next = new Map();
  for (const { id, primary, replicas } of view.shards) {
    const list = (known.get(id) ?? []).filter((reign) => reign.to >= keepFrom);
    const last = list.at(-1);
    const [node, term] = [primary?.node ?? null, primary?.term ?? null];
    if (last) last.to = at;
    if (!last || last.node !== node || (node !== null && last.term !== term)) {
      // The same primary in the same term was only out of sight.
      const before = list.findLast((reign) => reign.node !== null);
      const elected = node !== null && list.length > 0 && term !== before?.term;
      list.push({ node, term, place: replicas.indexOf(primary), from: at, to: at, elected });
    }
    next.set(id, list);
  }
  return next;
}
