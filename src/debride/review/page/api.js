// What the page asks of its server, and the outbox of what it tells it.

export class Refused extends Error {
  constructor(status, told) {
    super([told.problem, told.remedy].filter(Boolean).join(". "));
    this.status = status;
    this.gone = told.gone ?? false;
  }
}

// A server that was started again has another token, and says nothing to who comes with the old one.
const SILENT = "The server does not answer.";
const MOVED = { gone: true, problem: "The server was started again at another address", remedy: "Open the address that it printed" };

function address(path, query = {}) {
  const set = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return set.length ? `${path}?${new URLSearchParams(set)}` : path;
}

async function answered(response) {
  if (response.ok) return response;
  const json = response.headers.get("Content-Type")?.startsWith("application/json"), silent = { problem: `The server answered ${response.status}` };
  throw new Refused(response.status, json ? await response.json() : response.status === 404 ? MOVED : silent);
}

export async function ask(path, query) {
  return (await got(path, query)).json();
}

export async function bytes(path, query) {
  return (await got(path, query)).arrayBuffer();
}

async function got(path, query) {
  const response = await fetch(address(path, query)).catch(() => { throw new Error(`${SILENT} Look at its terminal`); });
  return answered(response);
}

async function gzipped(array) {
  const packed = new Blob([array]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Response(packed).arrayBuffer();
}

// Wishes go out one by one, in order. One that meets no answer stays and is tried again as it was, with the same `sent`.
export class Outbox {
  constructor({ changed, refused }) {
    this.wishes = [];
    this.changed = changed;
    this.refused = refused;
    this.lost = "";
    this.wait = 0;
    addEventListener("beforeunload", event => { if (this.wishes.length) event.preventDefault(); });
    addEventListener("online", () => this.hurry());
  }

  decide(place, body, done) {
    const sent = crypto.randomUUID();
    this.add({ place, done, send: () => fetch(`api/items/${place}/decision`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ...body, sent }) }) });
  }

  edit(place, part, comment, labels, done) {
    const sent = crypto.randomUUID(), copy = labels.slice();
    let packed;
    this.add({ place, done, send: async () => {
      packed ??= await gzipped(copy);
      return fetch(address(`api/items/${place}/edit`, { part, sent, comment }), {
        method: "POST", headers: { "Content-Type": "application/octet-stream", "Content-Encoding": "gzip" }, body: packed });
    } });
  }

  add(wish) {
    this.wishes.push(wish);
    this.changed(this);
    if (!this.busy) this.run();
  }

  waits(place) { return this.wishes.some(wish => wish.place === place); }

  hurry() { this.wake?.(); }

  async run() {
    this.busy = true;
    while (this.wishes.length) {
      const wish = this.wishes[0];
      let told = null;
      try {
        told = await (await answered(await wish.send())).json();
        this.wishes.shift();
        this.lost = "";
        this.wait = 0;
      } catch (error) {
        if (error instanceof Refused && error.status < 500 && !error.gone) {
          this.wishes.shift();
          this.refused(wish, error);
        } else {
          this.lost = error instanceof Refused ? `${error.message}.`.replace("..", ".") : SILENT;
          this.wait = Math.min(15, this.wait + 1);
          this.changed(this);
          await new Promise(wake => {
            this.wake = wake;
            setTimeout(wake, 1000 * this.wait);
          });
        }
      }
      this.changed(this);
      if (told) wish.done(told);
    }
    this.busy = false;
  }
}
