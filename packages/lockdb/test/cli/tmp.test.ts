import { execSync } from "node:child_process";
import { serve } from "@lockdb/server";
import { test } from "vitest";
import { Running } from "./cli.js";
const PATIENT = 'trap "echo got TERM" TERM; trap "exit 0" USR1; echo ready $$; while :; do sleep 0.02; done';
test("x", async () => {
  const server = await serve({ port: 0, store: "memory", logLevel: "silent" });
  const env = { LOCKDB_SERVER_URL: server.url, LOCKDB_API_KEY: server.rootKey, LOCKDB_SERVICE_ID: "jobs" };
  for (let i = 0; i < 5; i++) {
    const job = new Running(["run", `suspended${i}`, "--", "sh", "-c", PATIENT], env);
    await job.until(/ready/);
    job.child.kill("SIGTSTP");
    await job.until(/not suspended/);
    job.child.kill("SIGUSR1");
    const r = await Promise.race([job.ended, new Promise((r) => setTimeout(r, 3000, "STUCK"))]);
    console.log(i, r, job.stdout, job.stderr, job.child.exitCode);
    if (r === "STUCK") console.log(execSync(`ps -eo pid,ppid,pgid,stat,cmd | grep -E "${job.child.pid}|sleep 0.0|trap" | grep -v grep; grep Sig /proc/${job.child.pid}/status; ss -tnp | grep ${job.child.pid} || true`).toString());
  }
});
