/* pg-boss. The policy `key_strict_fifo` keeps the order within a key.

   node pg_boss_peer.mjs fill | work URL IN_FLIGHT FILE

   As its manual says: batches, which it fetches one after the other while they are full. Two workers,
   so that one sends while the other fetches and records. */

import { PgBoss } from "pg-boss";
import { Client, DATABASE, eventsOf, given } from "./client.mjs";

const QUEUE = "send";
const CHUNK = 1000;
const WORKERS = 2;
const BATCH = 256; // jobs, of which the client sends 64 at once

function open() {
  const boss = new PgBoss({ connectionString: DATABASE, schedule: false, supervise: false });
  boss.on("error", console.error);
  return boss.start();
}

async function fill(events) {
  const boss = await open();
  await boss.createQueue(QUEUE, { policy: "key_strict_fifo" });
  // The jobs of one insert have the same time, so no shopper has two of them.
  const keys = new Set(events.map(({ shopper }) => shopper)).size;
  const chunk = Math.min(CHUNK, keys);
  for (let at = 0; at < events.length; at += chunk) {
    const jobs = events.slice(at, at + chunk);
    await boss.insert(
      QUEUE,
      jobs.map(({ shopper, body }) => ({ data: { body }, singletonKey: shopper })),
    );
  }
  await boss.stop({ graceful: false });
}

async function work(url, inFlight, events) {
  const boss = await open();
  const client = new Client(url, inFlight, events);
  const options = {
    batchSize: BATCH,
    localConcurrency: WORKERS,
    pollingIntervalSeconds: 0.5,
    burstWhenBatchFull: true,
  };
  await boss.work(QUEUE, options, (jobs) =>
    Promise.all(jobs.map(({ id, data }) => client.send(id, data.body))),
  );
  await client.ended;
  await boss.stop({ graceful: true }); // records the last completions
  client.report();
}

const { what, url, inFlight, file } = given();
if (what === "fill") await fill(eventsOf(file));
else await work(url, inFlight, eventsOf(file).length);
process.exit(0);
