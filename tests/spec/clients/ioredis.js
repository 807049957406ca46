// What ioredis, unchanged, does with moonq. Usage: node ioredis.js SOCKET SCENARIO; exits with 0 if it holds.
"use strict";

const assert = require("assert");
const net = require("net");
const Redis = require("ioredis");

// RESP2 has no maps: keys and values alternate.
function asMap(flat) {
  const map = {};
  for (let i = 0; i < flat.length; i += 2) map[flat[i]] = flat[i + 1];
  return map;
}

async function refused(code, promise) {
  try {
    await promise;
  } catch (error) {
    assert.ok(error.message.startsWith(code), error.message);
    return error.message;
  }
  throw new Error(`not refused with ${code}`);
}

const scenarios = {
  async push(r) {
    const id = await r.call("PUSH", "mail.send", '{"to":"åda"}', "QUEUE", "js.push", "DELAY", "1h", "META", '{"n":1}');
    const job = asMap(await r.call("JOB", id));
    assert.strictEqual(job.id, id);
    assert.strictEqual(job.state, "scheduled");
    assert.deepStrictEqual(JSON.parse(job.payload), { to: "åda" });
    assert.deepStrictEqual(JSON.parse(job.meta), { n: 1 });
  },

  async pipeline(r) {
    const pipe = r.pipeline();
    for (let n = 0; n < 1000; n++) pipe.call("PUSH", "a", String(n), "QUEUE", "js.pipe");
    const ids = (await pipe.exec()).map(([error, id]) => (assert.strictEqual(error, null), id));
    assert.strictEqual(new Set(ids).size, 1000);
    assert.deepStrictEqual([...ids].sort(), ids);
    const [queue] = await r.call("QUEUES", "js.pipe");
    assert.strictEqual(asMap(queue).ready, 1000);
  },

  async multi(r) {
    const good = await r.multi().call("PUSH", "a", "1", "QUEUE", "js.multi").call("PUSH", "b", "2", "QUEUE", "js.multi").exec();
    assert.strictEqual(good.length, 2);
    assert.strictEqual(good[1][1].length, 13);
    await refused("EXECABORT", r.multi().call("PUSH", "a", "3", "QUEUE", "js.multi").call("PUHS").exec());
    await refused("NOTFOUND", r.multi().call("PUSH", "a", "4", "QUEUE", "js.multi").call("DELETE", "0000000000001").exec());
    const [queue] = await r.call("QUEUES", "js.multi");
    assert.strictEqual(asMap(queue).pushed_total, 2);
  },

  async consume(r) {
    const consumer = r.duplicate({ connectionName: "js-consumer" });
    const fetching = consumer.call("FETCH", "js.consume", "BLOCK", "10s");
    const id = await r.call("PUSH", "a", "1", "QUEUE", "js.consume");
    const [job] = (await fetching).map(asMap);
    assert.strictEqual(job.id, id);
    assert.strictEqual(asMap(await r.call("JOB", id)).holder, "js-consumer");
    assert.strictEqual(asMap(await consumer.call("PROGRESS", id, job.token, "0.5", "half")).cancelling, 0);
    assert.ok(asMap(await consumer.call("EXTEND", id, job.token, "1m")).deadline > job.deadline);
    await refused("LOST", consumer.call("ACK", id, job.token + 1));
    assert.strictEqual(await consumer.call("ACK", id, job.token, "{}"), "OK");
    consumer.disconnect();
  },

  async wait(r) {
    const id = await r.call("PUSH", "double", '{"n":21}');
    const [ended] = (await r.call("WAIT", id, "TIMEOUT", "10s")).map(asMap);
    assert.strictEqual(ended.state, "succeeded");
    assert.deepStrictEqual(JSON.parse(ended.result), { twice: 42 });
  },

  // ioredis expects one reply a command, so a stream is read from its socket by the parser that it uses itself.
  async events(r) {
    const Parser = require("redis-parser");
    const socket = net.connect(process.argv[2]);
    const replies = [];
    let arrived = () => {};
    const parser = new Parser({
      returnReply: (reply) => (replies.push(reply), arrived()),
      returnError: (error) => (replies.push(error), arrived()),
    });
    socket.on("data", (bytes) => parser.execute(bytes));
    const next = async () => {
      while (!replies.length) await new Promise((resolve) => (arrived = resolve));
      return replies.shift();
    };
    socket.write("EVENTS QUEUE js.events\r\n");
    assert.strictEqual(await next(), "OK");
    const id = await r.call("PUSH", "a", "1", "QUEUE", "js.events");
    const event = JSON.parse(await next());
    assert.strictEqual(event.event, "job.pushed");
    assert.strictEqual(event.id, id);
    socket.end();
  },

  async errors(r) {
    assert.match(await refused("BADARG", r.call("PUHS")), /did you mean 'PUSH'/);
    await refused("NOTFOUND", r.call("JOB", "0000000000001"));
    await refused("TOOBIG", r.call("PUSH", "a", "x".repeat(4 << 20)));
    assert.strictEqual(await r.ping(), "PONG");
  },

  // Its ready check reads INFO; the rest is what it sends when it connects.
  async habits(r) {
    assert.strictEqual(r.status, "ready");
    assert.match(await r.info("server"), /loading:0/);
    assert.ok((await r.client("ID")) > 0);
    assert.strictEqual(await r.client("SETNAME", "js"), "OK");
    assert.strictEqual(await r.client("GETNAME"), "js");
    assert.strictEqual(await r.select(0), "OK");
  },
};

async function main() {
  const r = new Redis({ path: process.argv[2], retryStrategy: null });
  await new Promise((resolve, reject) => r.once("ready", resolve).once("error", reject));
  await scenarios[process.argv[3]](r);
  await r.quit();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
