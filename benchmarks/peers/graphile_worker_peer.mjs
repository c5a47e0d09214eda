/* graphile-worker. Its `queueName`, one for each shopper, keeps the order within a key.

   node graphile_worker_peer.mjs fill | work URL IN_FLIGHT FILE

   As its manual says under Performance: a local queue, and completions in batches. Within a queue
   it takes jobs by `run_at`, so each gets a later one than the job before. */

import { makeWorkerUtils, run, Logger } from "graphile-worker";
import { Client, DATABASE, eventsOf, given } from "./client.mjs";

const CHUNK = 1000;
const LOCAL_QUEUE = 512; // jobs; with as many as there are keys, it waits for locked queues
const COMPLETE_AFTER = 5; // ms; until its completion is recorded, a job keeps its queue locked

const logger = new Logger(() => (level, message) => {
  if (level === "error") console.error(message);
});

async function fill(events) {
  const utils = await makeWorkerUtils({ connectionString: DATABASE, logger });
  await utils.migrate();
  const first = Date.now() - events.length - 1000;
  const jobs = events.map(({ shopper, body }, number) => ({
    identifier: "send",
    payload: { body },
    queueName: `shopper-${shopper}`,
    runAt: new Date(first + number),
  }));
  for (let at = 0; at < jobs.length; at += CHUNK) await utils.addJobs(jobs.slice(at, at + CHUNK));
  await utils.release();
}

async function work(url, inFlight, events) {
  const client = new Client(url, inFlight, events);
  const runner = await run({
    connectionString: DATABASE,
    logger,
    noHandleSignals: true,
    taskList: { send: ({ body }, { job }) => client.send(job.id, body) },
    preset: {
      worker: {
        concurrentJobs: inFlight,
        maxPoolSize: 10,
        localQueue: { size: LOCAL_QUEUE },
        completeJobBatchDelay: COMPLETE_AFTER,
      },
    },
  });
  await client.ended;
  await runner.stop(); // records the last completions
  client.report();
}

const { what, url, inFlight, file } = given();
if (what === "fill") await fill(eventsOf(file));
else await work(url, inFlight, eventsOf(file).length);
process.exit(0);
