// When to ask: at once after a change, then again and again while the view is live and seen. The river
// comes first; the span is asked for the very time that the river answered, so that all numbers on the
// page are of one moment. A hidden tab asks nothing; a fault is retried, later each time.

import { ask, Superseded } from "./api.js";
import { forSpan, forTime, talkersOf, timeOf } from "./state.js";

const QUICKEST_MS = 2000;
const SLOWEST_MS = 30_000;
const RESTS = 4; // times as long as it worked, the server is left in peace
const RETRY_MS = [2000, 5000, 10_000, 20_000, 30_000];
const SPAN = { links: 30, peers: 300 };

/**
 * view(): the state. on: {river, span, talkers, fleet}(answer), fault(error, retryAt), fine(), busy(on).
 * points(): how many buckets the picture has room for.
 */
export function createLoop({ view, points, on }) {
  let timer = 0;
  let due = false; // a round is to come: when the timer ends, or when the tab is seen again
  let turn = 0; // a newer turn makes the older ones' answers unwanted
  let faults = 0;
  let time = null; // {since, until} of the last river
  let step = QUICKEST_MS;

  async function round() {
    clearTimeout(timer);
    due = false;
    turn += 1;
    const mine = turn;
    on.busy(true);
    try {
      const state = view();
      const begun = performance.now();
      const river = await ask("river", forTime(state, { by: state.by, top: 10, points: points() }));
      if (mine !== turn) return;
      time = timeOf(river);
      step = river.step;
      on.river(river);
      // Not before: over a long time it would keep the server from the first picture.
      const fleet = ask("fleet", forTime(state));
      fleet.catch(() => {}); // looked at below, after the span
      const talkers = talkersOf(view());
      const span = await ask("span", forSpan(view(), time, { ...SPAN, ...talkers }));
      if (mine !== turn) return;
      // Sorted or searched otherwise meanwhile: that question is under way by itself.
      on.span(span, JSON.stringify(talkers) === JSON.stringify(talkersOf(view())));
      on.fleet(await fleet);
      if (mine !== turn) return;
      faults = 0;
      on.fine();
      on.busy(false);
      if (view().last !== null) {
        const tired = RESTS * (performance.now() - begun);
        again(Math.max(tired, Math.min(SLOWEST_MS, Math.max(QUICKEST_MS, step / 4))));
      }
    } catch (fault) {
      if (mine !== turn) return;
      if (fault instanceof Superseded) again(QUICKEST_MS); // by another span: the rest of the round is due soon
      else failed(fault);
    }
  }

  function failed(fault) {
    on.busy(false);
    const wait = fault.lasting ? null : RETRY_MS[Math.min(faults, RETRY_MS.length - 1)];
    faults += 1;
    on.fault(fault, wait === null ? null : Date.now() + wait);
    if (wait !== null) again(wait);
  }

  function again(wait) {
    clearTimeout(timer);
    due = true;
    timer = document.hidden ? 0 : setTimeout(round, wait);
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(timer);
      timer = 0;
    } else if (due) round();
  });

  return {
    /** Everything anew: another time, filter, or stack. */
    now: round,
    /** Another span of the same time: the river stays. */
    async span() {
      if (time === null) return;
      await alone("span", { ...SPAN, ...talkersOf(view()) });
    },
    /** Another order, cut or search of the same span. */
    async talkers() {
      if (time === null) return;
      await alone("talkers", talkersOf(view()));
    },
  };

  async function alone(kind, more) {
    const mine = turn; // a round that begins meanwhile brings the same, of its own time and filters
    on.busy(true);
    try {
      const answer = await ask(kind, forSpan(view(), time, more));
      if (mine !== turn) return;
      on[kind](answer, true);
      on.fine();
      on.busy(false);
    } catch (fault) {
      if (mine === turn && !(fault instanceof Superseded)) failed(fault);
    }
  }
}
