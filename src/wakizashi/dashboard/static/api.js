// Questions to the server. At most one of a kind is under way: a new one ends the one before it, whose
// answer nobody wants any more. Addresses are relative, so that the page works below any path.

const WAIT_MS = 60_000;

/** An answer that is a failure: `message` is for the reader, `lasting` if asking again cannot help. */
export class Refused extends Error {
  constructor(message, lasting) {
    super(message);
    this.lasting = lasting;
  }
}

/** Thrown to whoever was superseded; not a fault. */
export class Superseded extends Error {}

const under = new Map(); // kind -> AbortController

export function address(kind, query) {
  return `api/v1/${kind}?${query}`;
}

export async function ask(kind, query) {
  under.get(kind)?.abort(new Superseded());
  const control = new AbortController();
  under.set(kind, control);
  const timer = setTimeout(
    () => control.abort(new Refused(`the server has not answered in ${WAIT_MS / 1000} s; try a shorter time`, false)),
    WAIT_MS,
  );
  try {
    return await answer(address(kind, query), control.signal);
  } catch (fault) {
    // fetch rejects with the reason given to abort(), in some browsers with an error of its own.
    if (control.signal.aborted) throw control.signal.reason;
    throw fault;
  } finally {
    clearTimeout(timer);
    if (under.get(kind) === control) under.delete(kind);
  }
}

async function answer(url, signal) {
  let response;
  try {
    response = await fetch(url, { signal, headers: { accept: "application/json" } });
  } catch (fault) {
    if (signal.aborted) throw fault;
    throw new Refused("the dashboard's server cannot be reached; is `wakizashi dashboard` still running?", false);
  }
  let body = null;
  try {
    body = await response.json();
  } catch (fault) {
    if (signal.aborted) throw fault;
  }
  if (response.ok && body !== null) return body;
  const message = body?.error?.message ?? `the server answered ${response.status}`;
  throw new Refused(message, response.status >= 400 && response.status < 500);
}
