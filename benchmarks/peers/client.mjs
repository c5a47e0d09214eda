/* What a Node peer's handler does: it POSTs as the bare loop does, and counts.

   The client is undici's Pool: here it sends seven times as many requests a second as fetch, and a
   third more than node:http with keep-alive. The payload is a text within the job, so that its
   bytes arrive as they were written. */

import { readFileSync } from "node:fs";
import { Pool } from "undici";

export const DATABASE = process.env.BENCHMARK_DATABASE;

/* Return the arguments: fill or work, the endpoint, how many at once, and the file of the events. */
export function given() {
  const [what, url, inFlight, file] = process.argv.slice(2);
  return { what, url: new URL(url), inFlight: Number(inFlight), file };
}

/* Return the events: one a line, its shopper, a space, and its payload. */
export function eventsOf(file) {
  const lines = readFileSync(file, "utf8").split("\n");
  lines.pop();
  return lines.map((line) => {
    const space = line.indexOf(" ");
    return { shopper: line.slice(0, space), body: line.slice(space + 1) };
  });
}

export class Client {
  #accepted = 0;
  #ended;

  constructor(url, inFlight, events) {
    this.pool = new Pool(url.origin, { connections: inFlight, pipelining: 1 });
    this.path = url.pathname;
    this.events = events;
    this.ended = new Promise((resolve) => (this.#ended = resolve));
    this.began = performance.now();
    this.cpu = process.cpuUsage();
  }

  /* Send an event; throws if it is refused. */
  async send(event, body) {
    const { statusCode, body: answer } = await this.pool.request({
      path: this.path,
      method: "POST",
      headers: {
        "content-type": "application/json",
        "x-api-id": "benchmark",
        "idempotency-key": event,
      },
      body,
    });
    await answer.dump();
    if (statusCode !== 202) throw new Error(`answered ${statusCode}`);
    this.#accepted += 1;
    if (this.#accepted === this.events) this.#ended();
  }

  /* Print: events, seconds, cpu (seconds), memory (MB, the highest RSS). */
  report() {
    const { user, system } = process.cpuUsage(this.cpu);
    console.log(
      JSON.stringify({
        events: this.#accepted,
        seconds: (performance.now() - this.began) / 1e3,
        cpu: (user + system) / 1e6,
        memory: process.resourceUsage().maxRSS / 1024,
      }),
    );
  }
}
