// What stands around the functions of design documents: the globals they know, and one entry for each way to call them.
//
// Every call begins from the same state, so that what a function gives depends on its arguments alone: built-in
// objects cannot be changed, a function is made anew from its text for each call, and globals it leaves are removed.
(function (global) {
  'use strict';
  const { parse, stringify } = JSON;
  const evaluate = global.eval;
  const { apply, ownKeys, deleteProperty } = Reflect;
  const { defineProperty, freeze, getOwnPropertyDescriptor, getPrototypeOf, isExtensible, isFrozen } = Object;
  const LOG_LINES_MAX = 10;

  let rows = null;
  let lines = [];
  let modules = null;
  let design = {};
  let seed = 1;

  const text = (value) => {
    if (typeof value === 'string') return value;
    const json = stringify(value);
    return json === undefined ? String(value) : json;
  };

  const provided = {
    emit(key, value) { if (rows !== null) rows[rows.length] = [key, value]; },
    sum(values) {
      let total = 0;
      for (let at = 0; at < values.length; at++) total += values[at];
      return total;
    },
    isArray: Array.isArray,
    toJSON: stringify,
    log(message) { if (lines.length < LOG_LINES_MAX) lines[lines.length] = text(message).slice(0, 1000); },
    provides() { throw new Error('show and list functions are not served'); },
    registerType() { throw new Error('show and list functions are not served'); },
    start() { throw new Error('list functions are not served'); },
    send() { throw new Error('list functions are not served'); },
    getRow() { throw new Error('list functions are not served'); },
    index(doc) { throw new Error('search indexes are not served'); },
  };
  for (const name of ownKeys(provided)) {
    defineProperty(global, name, { value: provided[name], writable: true, enumerable: false, configurable: true });
  }
  // Equal documents are to give equal rows on every replica.
  defineProperty(Math, 'random', { value: function random() {
    seed = (seed * 16807) % 2147483647;
    return (seed - 1) / 2147483646;
  } });
  for (const name of ['WeakRef', 'FinalizationRegistry', 'SharedArrayBuffer', 'Atomics', 'queueMicrotask', 'performance']) {
    delete global[name];
  }

  // A property that cannot be written keeps objects that inherit it from having one of that name. These are names that
  // objects are given; where they are built in they can be read, and what is assigned goes to the object itself.
  const overridable = (prototype) => {
    for (const key of ownKeys(prototype)) {
      const { value, configurable } = getOwnPropertyDescriptor(prototype, key);
      if (value === undefined || !configurable) continue;
      defineProperty(prototype, key, {
        get() { return value; },
        set(other) {
          if (this === prototype) return;
          defineProperty(this, key, { value: other, writable: true, enumerable: true, configurable: true });
        },
      });
    }
  };
  overridable(Object.prototype);
  for (const kind of [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError]) {
    overridable(kind.prototype);
  }
  const fix = (thing) => {
    if (thing === null || (typeof thing !== 'object' && typeof thing !== 'function') || isFrozen(thing)) return;
    freeze(thing);
    fix(getPrototypeOf(thing));
    for (const key of ownKeys(thing)) {
      const { value, get, set } = getOwnPropertyDescriptor(thing, key);
      fix(value);
      fix(get);
      fix(set);
    }
  };
  for (const name of ownKeys(global)) {
    const property = getOwnPropertyDescriptor(global, name);
    if (property.value === global) continue;
    fix(property.value);
    if (property.configurable) defineProperty(global, name, { writable: false, configurable: false });
  }
  // Kinds that only syntax leads to.
  for (const sample of [function* () {}, async function () {}, async function* () {}, [][Symbol.iterator](), ''[Symbol.iterator](),
    new Map()[Symbol.iterator](), new Set()[Symbol.iterator](), 'a'.matchAll(/a/g), (function* () {})(), (async function* () {})()]) {
    fix(getPrototypeOf(sample));
  }
  const known = new Set(ownKeys(global));

  const source = (code) => {
    try {
      return evaluate('(function (require) { return (' + code + '\n); })');
    } catch (error) {
      // As a statement: with a semicolon, or with others before it.
      const trimmed = code.replace(/[;\s]+$/, '');
      if (trimmed === code) throw error;
      return evaluate('(function (require) { return (' + trimmed + '\n); })');
    }
  };

  const bodies = new Map();
  const required = (from) => (name) => {
    const steps = String(name).split('/').filter((step) => step !== '');
    const path = steps[0] === '.' || steps[0] === '..' ? from.slice(0, -1) : [];
    for (const step of steps) {
      if (step === '..') {
        if (path.length === 0) throw new Error('invalid_require_path: Object has no parent ' + name);
        path.pop();
      } else if (step !== '.') {
        path.push(step);
      }
    }
    const id = path.join('/');
    if (modules.has(id)) return modules.get(id).exports;
    let code = design;
    for (const step of path) {
      if (code === null || typeof code !== 'object' || !Object.hasOwn(code, step)) {
        throw new Error('invalid_require_path: Object has no property ' + step + ' in ' + name);
      }
      code = code[step];
    }
    if (typeof code !== 'string') throw new Error('invalid_require_path: Must require a JavaScript string, not: ' + typeof code);
    if (!bodies.has(id)) bodies.set(id, evaluate('(function (module, exports, require) {' + code + '\n})'));
    const module = { id, exports: {} };
    modules.set(id, module);
    apply(bodies.get(id), module.exports, [module, module.exports, required(path)]);
    return module.exports;
  };

  const factories = [];
  const begin = () => {
    rows = null;
    lines = [];
    modules = new Map();
    seed = 1;
  };
  const parent = getPrototypeOf(global);
  const cleared = () => {
    if (getPrototypeOf(global) !== parent || !isExtensible(global)) return false;
    for (const name of ownKeys(global)) {
      if (!known.has(name) && !deleteProperty(global, name)) return false;
    }
    return true;
  };
  const told = (error) => {
    if (error instanceof Error) return { name: String(error.name), message: String(error.message) };
    // CouchDB's own: `throw {error: …, reason: …}` and `throw ["error", …, …]`.
    return { thrown: error === undefined ? null : error };
  };

  // Each gives JSON text: `{"ok": …}` or `{"failed": …}`, and `log` and `unclean` where there is something to say.
  const called = (at, work) => {
    const answer = {};
    begin();
    try {
      answer.ok = work(factories[at](required([])));
    } catch (error) {
      answer.failed = told(error);
    }
    rows = null;
    if (lines.length > 0) answer.log = lines;
    let json;
    try {
      json = stringify(answer);
    } catch (error) {
      json = stringify({ failed: told(error) });
    }
    // Behind the writing, which may run `toJSON` functions.
    return cleared() ? json : json.slice(0, -1) + ',"unclean":true}';
  };

  return freeze({
    design(json) { design = parse(json); },
    compile(code) {
      begin();
      const factory = source(code);
      const made = factory(required([]));
      cleared();
      if (typeof made !== 'function') throw new TypeError('Expression does not eval to a function. (' + code + ')');
      factories.push(factory);
    },
    map(at, doc) {
      return called(at, (map) => {
        const mine = [];
        rows = mine;
        map(parse(doc));
        return mine;
      });
    },
    filter(at, args) {
      return called(at, (filter) => apply(filter, design, parse(args)) ? true : false);
    },
    validate(at, args) {
      return called(at, (validate) => { apply(validate, design, parse(args)); return true; });
    },
    reduce(at, args) {
      return called(at, (reduce) => {
        const value = apply(reduce, null, parse(args));
        return value === undefined ? null : value;
      });
    },
  });
})(globalThis)
