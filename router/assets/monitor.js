// Looks at the cluster once a second, at this router's counters every two, and keeps the last minutes.

import { request, requestText } from './api.js';
import { between, parse, quantile } from './metrics.js';
import { events, reigns, understand } from './state.js';

/** How much is kept. */
export const WINDOW_MS = 5 * 60_000;
const STATE_EVERY_MS = 1_000;
const METRICS_EVERY_MS = 2_000;
/** Quantiles are taken over so many looks, since a look at a quiet server counts few requests. */
const LOOKS = 5;
const EVENTS_MAX = 100;
/** After a pause this long (a hidden page) a rate would be an average over it. */
const PAUSE_MS = 10_000;
const DENIED_PAUSE_MS = 30_000;

/** Tells `state`, `metrics` and `events` of what is new. */
class Monitor extends EventTarget {
  view = null;
  error = null;
  samples = [];
  reigns = new Map();
  events = [];
  #looks = [];

  start() {
    this.#repeat(STATE_EVERY_MS, 'state', () => this.#lookAtState());
    this.#repeat(METRICS_EVERY_MS, 'metrics', () => this.#lookAtMetrics());
  }

  /** Looks now: something was done that changes what is to be seen. */
  async look() {
    await this.#lookAtState();
    this.dispatchEvent(new Event('state'));
  }

  async #repeat(every, name, step) {
    for (;;) {
      await visible();
      const began = performance.now();
      let pause = every;
      try {
        await step();
      } catch (error) {
        if (name === 'state') this.error = error;
        if (error.denied) pause = DENIED_PAUSE_MS;
      }
      this.dispatchEvent(new Event(name));
      await new Promise((resolve) => setTimeout(resolve, Math.max(pause - (performance.now() - began), every / 4)));
    }
  }

  async #lookAtState() {
    const view = understand(await request('GET', 'v1/_replication/state', { timeout: 5_000 }));
    const now = Date.now();
    const fresh = this.view ? events(this.view, view, now, this.reigns) : [];
    this.reigns = reigns(this.reigns, view, now, now - WINDOW_MS);
    Object.assign(this, { view, error: null });
    if (fresh.length) {
      this.events = [...fresh.reverse(), ...this.events].slice(0, EVENTS_MAX);
      this.dispatchEvent(new Event('events'));
    }
  }

  async #lookAtMetrics() {
    const totals = parse(await requestText('GET', '_metrics', { timeout: 5_000 }));
    const at = Date.now();
    const last = this.#looks.at(-1);
    if (last && at - last.at > PAUSE_MS) {
      this.#looks = [];
      this.samples.push({ at: last.at + 1 });
    }
    this.#looks = [...this.#looks, { at, totals }].slice(-LOOKS - 1);
    if (this.#looks.length < 2) return;
    const previous = this.#looks.at(-2);
    const now = between(previous.totals, totals);
    const wide = between(this.#looks[0].totals, totals).buckets;
    const perSecond = (n) => (n * 1000) / (at - previous.at);
    const sample = {
      at,
      reads: perSecond(now.read),
      writes: perSecond(now.write),
      failed: perSecond(now.failed),
      read50: quantile(0.5, wide.read),
      read99: quantile(0.99, wide.read),
      write50: quantile(0.5, wide.write),
      write99: quantile(0.99, wide.write),
    };
    this.samples = [...this.samples, sample].filter((one) => one.at >= at - WINDOW_MS);
  }
}

/** Resolves when the page is seen: nobody looks at a hidden one. */
function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener('visibilitychange', () => resolve(), { once: true });
  }).then(visible);
}

export const monitor = new Monitor();
